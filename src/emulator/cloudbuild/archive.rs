//! Unpacks the archive of a build's source, and nothing outside of the folder it is meant for.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use crate::workspace::links::real_path;

/// What may come out of an archive, so that a small one does not fill the disk.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Of all files together, the zeros of sparse ones counted.
    most_bytes: u64,
    /// Text packs to a tenth, and what repeats itself to a thousandth: an archive may unpack to so many times its
    /// size, or to so many bytes where that is more.
    ratio: u64,
    always_bytes: u64,
    /// Files, folders and links.
    entries: u64,
    /// Of what stands between two entries: long names, attributes, the map of a sparse file.
    header_bytes: u64,
}

const LIMITS: Limits = Limits {
    most_bytes: 10 << 30,
    ratio: 100,
    always_bytes: 256 << 20,
    entries: 200_000,
    header_bytes: 1 << 20,
};

/// Unpacks a gzipped tar archive into an empty folder. A link in it may still lead out of the folder by way of
/// other links.
///
/// # Errors
/// In a sentence, when it is none, when an entry leads out of the folder, or when it is too large.
pub(super) fn unpack(file: impl Read + Seek, folder: &Path) -> Result<(), String> {
    unpack_within(file, folder, LIMITS)
}

fn unpack_within(mut file: impl Read + Seek, folder: &Path, limits: Limits) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("the archive cannot be read: {e}");
    let mut magic = [0; 2];
    let is_gzip = match file.read_exact(&mut magic) {
        Ok(()) => magic == [0x1f, 0x8b],
        Err(_) => false,
    };
    if !is_gzip {
        return Err("the source is no gzipped tar archive (.tar.gz)".to_owned());
    }
    let packed = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let most_bytes = packed.saturating_mul(limits.ratio).clamp(
        limits.always_bytes,
        limits.most_bytes.max(limits.always_bytes),
    );
    let room = Rc::new(Cell::new(limits.header_bytes));
    let mut archive = Archive::new(Bounded {
        input: MultiGzDecoder::new(BufReader::new(file)),
        room: room.clone(),
    });
    let (mut count, mut bytes) = (0, 0_u64);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let shown = entry.path().map_err(unreadable)?.display().to_string();
        let refused = |why: &str| format!("the archive's entry `{shown}` {why}");
        count += 1;
        if count > limits.entries {
            return Err(refused(&format!(
                "is one more than the {} that an archive may have",
                limits.entries
            )));
        }
        bytes = bytes.saturating_add(entry.size());
        if bytes > most_bytes {
            return Err(refused(&format!(
                "of {} bytes makes {bytes} bytes unpacked, and an archive of {packed} bytes may have {most_bytes}: fetch \
                 large tables from a bucket in a step",
                entry.size()
            )));
        }
        room.set(most_bytes);
        unpack_entry(&mut entry, folder).map_err(|why| refused(&why))?;
        // What stands behind a folder or a link is passed over.
        io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
        room.set(limits.header_bytes);
    }
    Ok(())
}

/// A reader of so many bytes.
struct Bounded<R> {
    input: R,
    room: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        let left = self.room.get().checked_sub(got as u64);
        let too_long = || io::Error::other("the headers of an entry are too long");
        self.room.set(left.ok_or_else(too_long)?);
        Ok(got)
    }
}

/// Unpacks an entry, or says what is wrong with it.
fn unpack_entry(entry: &mut Entry<impl Read>, folder: &Path) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("cannot be read: {e}");
    let path = entry.path().map_err(unreadable)?.into_owned();
    if !stays_inside(Path::new(""), &path) {
        return Err("leads out of the folder".to_owned());
    }
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {}
        EntryType::Directory => {}
        kind @ (EntryType::Symlink | EntryType::Link) => {
            let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
            let outside = || {
                let target = target.display();
                format!("is a link that leads out of the folder, to `{target}`")
            };
            // A hard link's target counts from the archive's top, a symbolic one's from where it is.
            let from = match kind {
                EntryType::Symlink => path.parent().unwrap_or(Path::new("")),
                _ => Path::new(""),
            };
            if !stays_inside(from, &target) {
                return Err(outside());
            }
            // A hard link is made now, through the symbolic ones that are there.
            if kind == EntryType::Link {
                let root = folder.canonicalize().map_err(unreadable)?;
                let real = real_path(&folder.join(&target)).map_err(unreadable)?;
                if !real.starts_with(root) {
                    return Err(outside());
                }
            }
        }
        EntryType::XGlobalHeader => return Ok(()),
        _ => return Err("is neither a file, a folder nor a link".to_owned()),
    }
    // It also refuses to write through a link that an earlier entry made.
    match entry.unpack_in(folder) {
        Ok(true) => Ok(()),
        Ok(false) => Err("leads out of the folder".to_owned()),
        Err(e) => Err(format!("cannot be unpacked: {e}")),
    }
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
    use std::fs::File;
    use std::io::{Seek, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    /// An archive of entries: a kind, a name, and a file's content or a link's target.
    fn packed(entries: &[(EntryType, &str, &str)]) -> File {
        zipped(&tarred(entries))
    }

    fn tarred(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
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
        builder.into_inner().unwrap()
    }

    fn zipped(bytes: &[u8]) -> File {
        let mut packed = GzEncoder::new(tempfile::tempfile().unwrap(), Compression::fast());
        packed.write_all(bytes).unwrap();
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

    #[test]
    fn a_hard_link_goes_out_by_no_other_link() {
        use EntryType::{Link, Symlink};
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("source");
        fs::create_dir(&folder).unwrap();
        fs::write(outside.path().join("precious"), "").unwrap();
        // `a/b/up` is the top, so that `..` behind it is outside, where its name is three levels deep.
        let entries = [
            (Symlink, "a/b/up", "../.."),
            (Link, "x", "a/b/up/../precious"),
        ];
        let error = unpack(packed(&entries), &folder).unwrap_err();
        let said = "entry `x` is a link that leads out of the folder, to `a/b/up/../precious`";
        assert!(error.contains(said), "{error}");
    }

    #[test]
    fn a_bomb_is_refused_with_the_limit_and_what_was_met() {
        let limits = Limits {
            most_bytes: 1 << 20,
            ratio: 10,
            always_bytes: 100 << 10,
            entries: 3,
            header_bytes: 8 << 10,
        };
        let refused = |file: File| {
            let folder = tempfile::tempdir().unwrap();
            let error = unpack_within(file, folder.path(), limits).unwrap_err();
            let size = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap());
            let size: u64 = size.map(|entry| entry.metadata().unwrap().len()).sum();
            assert!(size <= limits.always_bytes, "{size}");
            error
        };
        use EntryType::{Directory, Regular};
        let zeros = "0".repeat(60 << 10);
        let two = [(Regular, "a", &*zeros), (Regular, "b", &*zeros)];
        let error = refused(packed(&two));
        assert!(
            error.contains("entry `b` of 61440 bytes makes 122880 bytes"),
            "{error}"
        );
        assert!(error.contains("may have 102400"), "{error}");
        let many = ["a", "b", "c", "d"].map(|name| (Directory, name, ""));
        let error = refused(packed(&many));
        assert!(
            error.contains("entry `d` is one more than the 3"),
            "{error}"
        );
        let error = refused(zipped(&sparse(4 << 30)));
        assert!(error.contains("of 4294967296 bytes makes"), "{error}");
        let mut long = tarred(&[(EntryType::GNULongName, "././@LongLink", "")]);
        long[124..135].copy_from_slice(b"00000100000");
        let mut header = Header::from_byte_slice(&long[..512]).clone();
        header.set_cksum();
        let long = [header.as_bytes().as_slice(), &[b'a'; 1 << 15][..]].concat();
        let error = refused(zipped(&long));
        assert!(
            error.contains("headers of an entry are too long"),
            "{error}"
        );
    }

    /// An archive of a file of so many zeros, none of which is in it.
    fn sparse(size: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_mode(0o644);
        header.set_size(0);
        header.set_entry_type(EntryType::GNUSparse);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(size);
        let octal = format!("{size:011o}\0");
        gnu.sparse[0].offset.copy_from_slice(octal.as_bytes());
        gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(512 * 3, 0);
        bytes
    }
}
