//! `artifacts.objects`: files of the workspace that go to Cloud Storage when every step is done.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde_json::json;

use super::config::Objects;
use super::log::Log;
use crate::gcp::{GsUri, Object, Precondition, Storage};
use crate::pattern::Glob;
use crate::workspace::links::real_path;

/// What was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uploaded {
    /// The object that lists the others, as `gs://…`.
    pub(super) manifest: String,
    pub(super) count: usize,
}

/// Uploads what the patterns match, then the manifest `artifacts-BUILD_ID.json`: a JSON object a line,
/// `{location, file_hash}`, with the object's generation and the MD5 of its bytes.
///
/// # Errors
/// When a pattern matches nothing, a file cannot be read, or the cloud refuses.
pub(super) async fn upload(
    objects: &Objects,
    workspace: &Path,
    build_id: &str,
    storage: &Storage,
    log: &Log,
) -> Result<Uploaded> {
    let location = objects.location.as_ref().map_or("", |text| text.as_str());
    let folder: GsUri = location.trim_end_matches('/').parse()?;
    log.line(&format!("Artifacts will be uploaded to {folder}/"));
    let mut manifest = String::new();
    let mut count = 0;
    for pattern in &objects.paths {
        log.line(&format!("{}: Uploading path....", pattern.value));
        let files = matches(workspace, pattern)?;
        if files.is_empty() {
            bail!(
                "`artifacts.objects.paths`: no file matches `{}`",
                pattern.value
            );
        }
        for Match { path, real } in &files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let object = put(storage, &folder.join(&name), real).await?;
            let line = json!({
                "location": format!("{}#{}", object.uri(), object.generation),
                "file_hash": [{ "file_hash": [{ "type": 2, "value": md5_of(real)? }] }],
            });
            manifest.push_str(&format!("{line}\n"));
        }
        count += files.len();
        log.line(&format!(
            "{}: {} matching files uploaded",
            pattern.value,
            files.len()
        ));
    }
    log.line(&format!("{count} total artifacts uploaded to {folder}/"));
    let name = format!("artifacts-{build_id}.json");
    log.line(&format!("Uploading manifest {name}"));
    let uri = folder.join(&name);
    let pre = present(storage, &uri).await?;
    storage
        .objects_insert(
            &uri.bucket,
            &uri.name,
            "application/json",
            manifest.into(),
            pre,
        )
        .await?;
    log.line(&format!("Artifact manifest located at {uri}"));
    Ok(Uploaded {
        manifest: uri.to_string(),
        count,
    })
}

async fn put(storage: &Storage, uri: &GsUri, file: &Path) -> Result<Object> {
    let pre = present(storage, uri).await?;
    let content_type = "application/octet-stream";
    Ok(storage
        .objects_insert_file(&uri.bucket, &uri.name, content_type, file, pre)
        .await?)
}

/// The precondition under which a write replaces what is there, so that it may be sent twice.
async fn present(storage: &Storage, uri: &GsUri) -> Result<Precondition> {
    let there = storage.objects_get(&uri.bucket, &uri.name).await?;
    Ok(there.map_or(Precondition::Absent, |object| {
        Precondition::Generation(object.generation)
    }))
}

/// A file that a pattern matches.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    path: PathBuf,
    /// The same where no part is a link.
    real: PathBuf,
}

/// The files that a pattern matches, in the order of their paths. `*` stays within a folder; `**` does not, but
/// goes through no link, as in a shell. A folder is no file.
fn matches(workspace: &Path, pattern: &str) -> Result<Vec<Match>> {
    let relative = pattern.strip_prefix("/workspace/").unwrap_or(pattern);
    let segments: Vec<&str> = relative
        .split('/')
        .filter(|s| !matches!(*s, "" | "."))
        .collect();
    if relative.starts_with('/') || segments.contains(&"..") {
        bail!("`artifacts.objects.paths`: `{pattern}` is outside of the workspace");
    }
    let mut found = Vec::new();
    walk(workspace, &segments, &mut found)?;
    found.sort();
    found.dedup();
    let root = workspace.canonicalize()?;
    let mut files = Vec::with_capacity(found.len());
    for path in found {
        let shown = path.strip_prefix(workspace).unwrap_or(&path).display();
        let real = real_path(&path).with_context(|| format!("following the link `{shown}`"))?;
        if !real.starts_with(&root) {
            bail!(
                "`artifacts.objects.paths`: `{shown}` leads out of the workspace by a symbolic link, to `{}`",
                real.display()
            );
        }
        if real.is_file() {
            files.push(Match { path, real });
        }
    }
    Ok(files)
}

/// Collects the files that a pattern's segments match, and links that lead nowhere.
fn walk(folder: &Path, segments: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((first, rest)) = segments.split_first() else {
        return Ok(());
    };
    if *first == "**" {
        walk(folder, rest, found)?;
    }
    let glob = Glob::new(first);
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // As in a shell, a hidden file is matched by a pattern that begins with its dot.
        let hidden = name.starts_with('.') && !first.starts_with('.');
        if *first == "**" {
            if kind.is_dir() && !hidden {
                walk(&path, segments, found)?;
            }
        } else if !hidden && glob.matches(&name) {
            if !rest.is_empty() {
                walk(&path, rest, found)?;
            } else if path.is_file() || (kind.is_symlink() && !path.exists()) {
                found.push(path);
            }
        }
    }
    Ok(())
}

/// The MD5 of a file's bytes in base64, as Cloud Storage writes it.
fn md5_of(file: &Path) -> Result<String> {
    let mut file = fs::File::open(file)?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(STANDARD.encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_files_as_a_shell_does() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.txt", "b.txt", "d/c.txt", "d/e/f.bin", ".serin/x.txt"] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let root = folder.path().display().to_string() + "/";
            let found = matches(folder.path(), pattern).unwrap();
            let name = |found: &Match| found.path.display().to_string().replace(&root, "");
            found.iter().map(name).collect()
        };
        assert_eq!(names("*.txt"), ["a.txt", "b.txt"]);
        assert_eq!(names("./d/*"), ["d/c.txt"]);
        assert_eq!(names("/workspace/a.txt"), ["a.txt"]);
        assert_eq!(names("**/*.txt"), ["a.txt", "b.txt", "d/c.txt"]);
        assert_eq!(names("d/**/f.*"), ["d/e/f.bin"]);
        assert_eq!(names(".serin/*"), [".serin/x.txt"]);
        assert!(names("d").is_empty());
        for outside in ["../x", "/etc/passwd", "a/../../b"] {
            assert!(matches(folder.path(), outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn no_pattern_leads_out_of_the_workspace_by_a_link() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().join("workspace");
        fs::create_dir_all(workspace.join("d/e")).unwrap();
        for file in ["a", "workspace/b", "workspace/d/e/c"] {
            fs::write(folder.path().join(file), file).unwrap();
        }
        for (link, target) in [
            ("file", "../a"),
            ("folder", ".."),
            ("d/e/up", "../.."),
            ("chain", "d/e/up/../a"),
            ("gone", "/workspace/b"),
            ("dangling", "nothing"),
            ("fine", "d/e/c"),
            ("d/loop", "."),
        ] {
            symlink(target, workspace.join(link)).unwrap();
        }
        for (pattern, named) in [
            ("file", "`file`"),
            ("f*", "`file`"),
            ("**/file", "`file`"),
            ("folder/a", "`folder/a`"),
            ("*/a", "`folder/a`"),
            ("chain", "`chain`"),
            ("gone", "`gone`"),
        ] {
            let error = matches(&workspace, pattern).unwrap_err().to_string();
            let said = format!("{named} leads out of the workspace by a symbolic link");
            assert!(error.contains(&said), "{pattern}: {error}");
        }
        let names = |pattern: &str| {
            let found = matches(&workspace, pattern).unwrap();
            let name = |found: &Match| found.path.strip_prefix(&workspace).unwrap().to_owned();
            found.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names("fine"), [Path::new("fine")]);
        assert_eq!(names("d/e/up/b"), [Path::new("d/e/up/b")]);
        assert_eq!(names("**/c"), [Path::new("d/e/c")]);
        assert!(names("dangling").is_empty());
    }
}
