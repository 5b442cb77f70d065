//! Which files of a folder become objects, and when.

use std::os::unix::fs::symlink;

use super::*;
use crate::emulator::tests::on;

/// What was seen of a folder, and an emulator whose objects it becomes.
struct Watched {
    folder: tempfile::TempDir,
    watch: Watch,
    seen: Seen,
    running: crate::emulator::Running,
}

impl Watched {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = on(folder.path(), &[]).await;
        let buckets = Seed {
            folder: folder.path().join("buckets"),
            project: "p".to_owned(),
        };
        fs::create_dir_all(buckets.folder.join("data-bucket/a")).unwrap();
        Self {
            watch: Watch::new(running.emulator.storage.clone(), buckets),
            seen: Seen::default(),
            folder,
            running,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("buckets").join(name)
    }

    /// A look with no patience; says what it left for the next one.
    fn look(&mut self, object: &str) -> bool {
        let Self { watch, seen, .. } = self;
        let bucket = if object.is_empty() { "" } else { "data-bucket" };
        watch.look(seen, bucket, object, Duration::ZERO)
    }

    /// Whether an object is there with these bytes.
    fn has(&self, object: &str, content: &str) -> bool {
        let (storage, size) = (&self.watch.storage, content.len() as u64);
        let open = || Ok(content.as_bytes());
        seeded::holds(storage, "data-bucket", object, size, open).unwrap()
    }
}

#[tokio::test]
async fn a_file_is_taken_when_a_second_look_finds_it_the_same() {
    let mut watched = Watched::new().await;
    let path = watched.path("data-bucket/a/rows.csv");
    fs::write(&path, "1").unwrap();
    assert!(watched.look(""));
    fs::write(&path, "12").unwrap();
    assert!(watched.look(""), "it was being written");
    assert!(!watched.has("a/rows.csv", "12"));
    assert!(!watched.look(""));
    assert!(watched.has("a/rows.csv", "12"));

    // A change is a new generation; what is removed stays.
    fs::write(&path, "x").unwrap();
    assert!(watched.look("a/rows.csv"));
    assert!(!watched.look("a/rows.csv"));
    assert!(watched.has("a/rows.csv", "x"));
    fs::remove_file(&path).unwrap();
    assert!(!watched.look(""));
    assert!(watched.has("a/rows.csv", "x"));
    assert!(watched.seen.files.is_empty());

    watched.seen.closed = true;
    fs::write(&path, "y").unwrap();
    assert!(!watched.look(""));
    watched.running.stop().await;
}

#[tokio::test]
async fn nothing_outside_and_nothing_temporary_is_taken() {
    let mut watched = Watched::new().await;
    fs::write(watched.folder.path().join("secret"), "s").unwrap();
    fs::write(watched.path("data-bucket/a/real"), "r").unwrap();
    let outside = watched.folder.path().join("secret");
    symlink(outside, watched.path("data-bucket/link")).unwrap();
    symlink("a", watched.path("data-bucket/folder")).unwrap();
    symlink("data-bucket", watched.path("other-bucket")).unwrap();
    for name in [".x", "x.tmp", "tmp_x", "x~"] {
        fs::write(watched.path("data-bucket").join(name), "t").unwrap();
    }
    for object in [
        "link",
        "folder/real",
        "../../secret",
        "a/../a/real",
        "a//real",
        "/a/real",
        "a/real/",
        "a",
        ".x",
        "x.tmp",
        "tmp_x",
        "x~",
    ] {
        assert!(!watched.look(object), "{object}");
    }
    assert!(watched.seen.files.is_empty());
    assert!(watched.look("a/real"));
    assert!(!watched.look("a/real"));
    watched.look("");
    watched.look("");
    let files: Vec<_> = watched.seen.files.into_keys().collect();
    assert_eq!(files, [("data-bucket".to_owned(), "a/real".to_owned())]);
    watched.running.stop().await;
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_no_object() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, "12").unwrap();
    let stamp = Stamp::of(&fs::symlink_metadata(&path).unwrap());
    let mut content = Vec::new();
    let mut whole = Whole::open(&path, stamp).unwrap();
    whole.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"12");
    let mut whole = Whole::open(&path, stamp).unwrap();
    fs::write(&path, "123").unwrap();
    whole.read_to_end(&mut content).unwrap_err();
    assert!(Whole::open(&path, stamp).is_err());
}

#[test]
fn a_folder_that_cannot_be_watched_is_the_users_mistake() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path()).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file, folder.path().join("none")] {
        let error = check(&path).unwrap_err();
        assert!(error.message.contains("--watch-buckets"), "{error}");
    }
}
