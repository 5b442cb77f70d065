//! Unpacks the archive of a build's source, and nothing outside of the folder it is meant for.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType};

/// Unpacks a gzipped tar archive into an empty folder.
///
/// # Errors
/// In a sentence, when it is none, or when an entry or a link in it leads out of the folder.
pub(super) fn unpack(mut file: File, folder: &Path) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("the archive cannot be read: {e}");
    let mut magic = [0; 2];
    let is_gzip = match file.read_exact(&mut magic) {
        Ok(()) => magic == [0x1f, 0x8b],
        Err(_) => false,
    };
    if !is_gzip {
        return Err("the source is no gzipped tar archive (.tar.gz)".to_owned());
    }
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut archive = Archive::new(MultiGzDecoder::new(BufReader::new(file)));
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let shown = path.display().to_string();
        let refused = |why: &str| format!("the archive's entry `{shown}` {why}");
        if !stays_inside(Path::new(""), &path) {
            return Err(refused("leads out of the folder"));
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {}
            EntryType::Directory => {}
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
                // A hard link's target counts from the archive's top, a symbolic one's from where it is.
                let from = match kind {
                    EntryType::Symlink => path.parent().unwrap_or(Path::new("")),
                    _ => Path::new(""),
                };
                if !stays_inside(from, &target) {
                    return Err(refused("is a link that leads out of the folder"));
                }
            }
            EntryType::XGlobalHeader => continue,
            _ => return Err(refused("is neither a file, a folder nor a link")),
        }
        // It also refuses to write through a link that an earlier entry made.
        let unpacked = entry
            .unpack_in(folder)
            .map_err(|e| refused(&format!("cannot be unpacked: {e}")))?;
        if !unpacked {
            return Err(refused("leads out of the folder"));
        }
    }
    Ok(())
}

/// Whether a path, seen from a folder, never goes above the top.
fn stays_inside(from: &Path, path: &Path) -> bool {
    let mut depth = 0_i32;
    for part in from.components().chain(path.components()) {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

/// Removes a folder with all that is in it; one that is not there is no error.
pub(super) fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            eprintln!("warning: {} cannot be removed: {e}", folder.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    /// An archive of entries: a kind, a name, and a file's content or a link's target.
    fn packed(entries: &[(EntryType, &str, &str)]) -> File {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, text) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            // Not by `set_path`, which refuses what is to be tried here.
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            let content: &[u8] = match kind {
                EntryType::Regular => text.as_bytes(),
                _ => &[],
            };
            if content.is_empty() && !text.is_empty() {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        let mut packed = GzEncoder::new(tempfile::tempfile().unwrap(), Compression::fast());
        packed.write_all(&builder.into_inner().unwrap()).unwrap();
        let mut file = packed.finish().unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn what_is_packed_comes_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = packed(&[
            (EntryType::Directory, "./", ""),
            (EntryType::Regular, "./sub/a.txt", "text"),
            (EntryType::Symlink, "sub/b", "../sub/a.txt"),
            (EntryType::Link, "c", "sub/a.txt"),
        ]);
        unpack(file, folder.path()).unwrap();
        for name in ["sub/a.txt", "sub/b", "c"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(text, "text", "{name}");
        }
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        use EntryType::{Char, Link, Regular, Symlink};
        for (entries, why) in [
            (vec![(Regular, "../x", "a")], "leads out"),
            (vec![(Regular, "/tmp/x", "a")], "leads out"),
            (vec![(Regular, "a/../../x", "a")], "leads out"),
            (vec![(Symlink, "a", "/etc")], "is a link"),
            (vec![(Symlink, "sub/a", "../../x")], "is a link"),
            (vec![(Link, "a", "../x")], "is a link"),
            (vec![(Char, "a", "")], "is neither"),
        ] {
            let outside = tempfile::tempdir().unwrap();
            let folder = outside.path().join("source");
            fs::create_dir(&folder).unwrap();
            let error = unpack(packed(&entries), &folder).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"PK\x03\x04", b"\x1f\x8bnonsense"] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            assert!(unpack(file, folder.path()).is_err());
        }
    }
}
