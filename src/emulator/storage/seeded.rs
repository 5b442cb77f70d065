//! What a seed and a folder that is watched need of Storage: buckets and objects that no request makes.

use std::io::{Read, Write};

use super::buckets::{self, Bucket};
use super::bytes::Hasher;
use super::objects::{self, Attributes, New, Object, Preconditions};
use super::xml;
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::percent_decode;

/// # Errors
/// 400 for what no bucket may be called.
pub(in crate::emulator) fn check_bucket(name: &str) -> Result<(), ApiError> {
    buckets::check_name(name)
}

/// # Errors
/// 400 for what no object may be called.
pub(in crate::emulator) fn check_object(name: &str) -> Result<(), ApiError> {
    objects::check_name(name)
}

/// # Errors
/// The disk's refusal.
pub(in crate::emulator) fn find_or_make_bucket(
    storage: &Storage,
    name: &str,
    project: &str,
) -> Result<(), ApiError> {
    if Bucket::find(storage, name).is_err() {
        Bucket::make(storage, name, project)?;
    }
    Ok(())
}

/// Whether the live object of a name has `size` bytes and the sums of what `open` gives, which is
/// read only where the size is right.
///
/// # Errors
/// What `open` or its reader says.
pub(in crate::emulator) fn holds<R: Read>(
    storage: &Storage,
    bucket: &str,
    name: &str,
    size: u64,
    open: impl FnOnce() -> anyhow::Result<R>,
) -> anyhow::Result<bool> {
    let live: Option<Object> = storage.core.store.get(&Object::key(bucket, name));
    let Some(live) = live.filter(|live| live.size == size) else {
        return Ok(false);
    };
    let sums = Hasher::of(open()?)?.finish();
    // A composed object has no MD5.
    Ok(sums.size == live.size
        && sums.crc32c == live.crc32c
        && live.md5.is_none_or(|md5| Some(md5) == sums.md5))
}

/// Makes what a reader gives the live object of a name.
///
/// # Errors
/// The reader's or the disk's refusal.
pub(in crate::emulator) fn insert(
    storage: &Storage,
    bucket: &str,
    name: &str,
    content_type: &str,
    mut reader: impl Read,
) -> Result<(), ApiError> {
    let mut file = tempfile::Builder::new()
        .prefix(".incoming-")
        .tempfile_in(storage.core.store.blob(""))?;
    let mut sums = Hasher::default();
    let mut piece = vec![0; 1 << 18];
    loop {
        match reader.read(&mut piece)? {
            0 => break,
            n => {
                sums.update(&piece[..n]);
                file.write_all(&piece[..n])?;
            }
        }
    }
    file.as_file().sync_all()?;
    let new = New {
        bucket: bucket.to_owned(),
        name: name.to_owned(),
        attributes: Attributes {
            content_type: Some(content_type.to_owned()),
            ..Attributes::default()
        },
        preconditions: Preconditions::default(),
        sums: sums.finish(),
        component_count: None,
        upload: None,
    };
    objects::commit_at_once(storage, new, file.path())?;
    Ok(())
}

/// The buckets that a raw path of Storage names, each with its object: an empty object stands for all of the bucket,
/// an empty bucket for all buckets.
pub(in crate::emulator) fn named(path: &str) -> Vec<(String, String)> {
    if let Some(names) = xml::names(path) {
        return vec![names];
    }
    let mut named: Vec<(String, String)> = Vec::new();
    let mut segments = path.split('/');
    let decoded = |segment: Option<&str>| segment.and_then(percent_decode).unwrap_or_default();
    while let Some(segment) = segments.next() {
        match (segment, named.last_mut()) {
            ("b", _) => named.push((decoded(segments.next()), String::new())),
            ("o", Some((_, object))) if object.is_empty() => *object = decoded(segments.next()),
            // The target of a move, in the same bucket.
            ("o", Some((bucket, _))) => {
                let bucket = bucket.clone();
                named.push((bucket, decoded(segments.next())));
            }
            // Its sources stand in the message.
            ("compose", Some((_, object))) => object.clear(),
            _ => {}
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_path_names_buckets_and_objects() {
        for (path, names) in [
            ("/storage/v1/b", vec![("", "")]),
            ("/storage/v1/b/bkt", vec![("bkt", "")]),
            ("/storage/v1/b/bkt/o", vec![("bkt", "")]),
            ("/storage/v1/b/bkt/o/b", vec![("bkt", "b")]),
            ("/download/storage/v1/b/bkt/o/a%2Fb", vec![("bkt", "a/b")]),
            ("/upload/storage/v1/b/bkt/o", vec![("bkt", "")]),
            ("/storage/v1/b/bkt/o/x/compose", vec![("bkt", "")]),
            (
                "/storage/v1/b/bkt/o/x/rewriteTo/b/other/o/y",
                vec![("bkt", "x"), ("other", "y")],
            ),
            (
                "/storage/v1/b/bkt/o/x/moveTo/o/y",
                vec![("bkt", "x"), ("bkt", "y")],
            ),
            ("/bkt/a/b", vec![("bkt", "a/b")]),
            ("/bkt", vec![("bkt", "")]),
            ("/storage/v1/projects/p/hmacKeys", vec![]),
        ] {
            let found = named(path);
            let found: Vec<_> = found
                .iter()
                .map(|(b, o)| (b.as_str(), o.as_str()))
                .collect();
            assert_eq!(found, names, "{path}");
        }
    }
}
