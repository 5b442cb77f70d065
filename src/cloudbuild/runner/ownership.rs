//! Files that a container made as another user, given back to whoever runs the build.
//!
//! On Cloud Build every step may change what an earlier one wrote, and so may the next build here
//! empty its workspace. Where serin does not run as root but the engine does, files of a container
//! would stand in the way, so after each step a second container hands them over.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid};

use crate::engine::{Container, Engine, Mount};

/// Hands over the files that are somebody else's in the folders that a container may write to.
///
/// The program for it is the `chown` of an image: of the first of `images` that has one.
///
/// # Errors
/// Why it could not be done, in a sentence.
pub(super) async fn give_back(
    engine: &Engine,
    container: &Container,
    images: &[String],
) -> Result<(), String> {
    let user = geteuid();
    if user.is_root() || !engine.is_local() || engine.is_desktop {
        return Ok(());
    }
    let written = |mount: &&Mount| matches!(mount, Mount::Bind { from, read_only: false, .. } if from.is_dir());
    let mut mounts: Vec<Mount> = container.mounts.iter().filter(written).cloned().collect();
    mounts.retain(|mount| match mount {
        Mount::Bind { from, .. } => has_others(from, user.as_raw()).unwrap_or(true),
        Mount::Volume { .. } => false,
    });
    if mounts.is_empty() {
        return Ok(());
    }
    let mut args = vec![
        "-Rh".to_owned(),
        format!("{}:{}", user.as_raw(), getegid().as_raw()),
    ];
    args.extend(mounts.iter().map(|mount| mount.target().to_owned()));
    let mut why = "no image of the build is there".to_owned();
    for image in images {
        let hand_over = Container {
            name: format!("{}-owner", container.name),
            owner: container.owner.clone(),
            image: image.clone(),
            network: "none".to_owned(),
            user: Some("0:0".to_owned()),
            entrypoint: Some("chown".to_owned()),
            args: args.clone(),
            folder: "/".to_owned(),
            mounts: mounts.clone(),
            ..Container::default()
        };
        match engine.run(&hand_over).await {
            Ok(()) => return Ok(()),
            Err(error) => why = error.message,
        }
    }
    Err(format!(
        "files of the container's user are left in the workspace, for want of an image with `chown`: {why}"
    ))
}

/// Whether something in a folder, or the folder, belongs to another user.
fn has_others(path: &Path, user: u32) -> io::Result<bool> {
    let meta = fs::symlink_metadata(path)?;
    if meta.uid() != user {
        return Ok(true);
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            if has_others(&entry?.path(), user)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
