//! The workspace is the interface: typed, digested artifacts under `.serin/`, and the chain of inputs.
//!
//! Each artifact has one writer and carries the sha256 of every file it was made from. Reading one
//! checks those digests, so that a stale or edited file stops the build and names the step to run again.

pub(crate) mod drift_report;
pub(crate) mod links;
pub(crate) mod monitor_report;
pub(crate) mod monitor_window;
pub(crate) mod reason;
pub mod records;
pub(crate) mod table_profile;
pub(crate) mod temporary;
pub(crate) mod unfinished;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::unfinished::Unfinished;
use crate::error::Input;

/// The folder of the workspace that is serin's.
pub const FOLDER: &str = ".serin";

/// Where steps keep the files of a test part that lies in Cloud Storage, under `.serin/`.
pub(crate) const TEST_FOLDER: &str = "data/test";

/// A sha256 in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    /// The digest of a file's bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Self::from_hasher(hasher)),
                n => hasher.update(&buffer[..n]),
            }
        }
    }

    pub fn from_hasher(hasher: Sha256) -> Self {
        let mut text = String::with_capacity(64);
        for byte in hasher.finalize() {
            text.push_str(&format!("{byte:02x}"));
        }
        Self(text)
    }

    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest in the form of a random UUID, version 4: an id where the bytes differ each time.
    pub fn uuid(&self) -> String {
        let part = |from: usize, to: usize| self.0.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }

    /// A digest that is whole: 64 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// The first 32 digits, for a label, which has fewer than 64 characters. Finds, and proves nothing.
    pub fn label(&self) -> &str {
        self.0.get(..32).unwrap_or(&self.0)
    }

    /// The first twelve digits, enough for a person.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that an artifact was made from; the path is relative to the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    pub path: String,
    pub sha256: Digest,
}

/// What a step writes: a JSON file of one schema, with one writer.
pub trait Record: Serialize + DeserializeOwned {
    /// The file's name under `.serin/`.
    const FILE: &'static str;
    /// The schema's name and version, as in `serin/dataset/v1`.
    const SCHEMA: &'static str;
    /// The step that writes it.
    const STEP: &'static str;
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    schema: String,
    inputs: Vec<InputFile>,
    #[serde(flatten)]
    body: T,
}

/// The folder a build's steps share; `/workspace` in Cloud Build.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace at `root`, usually the current directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path of the workspace, from one relative to it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// A path under `.serin/`, relative to the workspace.
    pub fn relative(name: &str) -> String {
        format!("{FOLDER}/{name}")
    }

    /// The folder of the model, as `train` leaves it.
    pub fn model_dir(&self) -> PathBuf {
        self.root.join(FOLDER).join("model")
    }

    /// Removes the half-written files that a killed step left.
    pub fn sweep(&self) {
        let ours = self.root.join(FOLDER);
        for folder in [
            ours.join("data"),
            ours.join(TEST_FOLDER),
            ours.join("model"),
            ours,
        ] {
            temporary::sweep(&folder);
        }
    }

    /// Writes a record made from `inputs` (paths relative to the workspace), whole or not at all.
    ///
    /// # Errors
    /// When an input cannot be read or the file cannot be written.
    pub fn write<T: Record>(&self, body: &T, inputs: &[&str]) -> Result<()> {
        let inputs = inputs.iter().map(|path| self.input(path));
        self.write_made_of(body, inputs.collect::<Result<_>>()?)
    }

    /// A file of the workspace, with its digest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn input(&self, path: &str) -> Result<InputFile> {
        let sha256 =
            Digest::of_file(&self.path(path)).with_context(|| format!("reading {path}"))?;
        Ok(InputFile {
            path: path.to_owned(),
            sha256,
        })
    }

    /// As [`Self::write`], from files whose digests are known.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn write_made_of<T: Record>(&self, body: &T, inputs: Vec<InputFile>) -> Result<()> {
        self.write_envelope(T::FILE, T::SCHEMA, inputs, body)
    }

    /// Writes how far the step of a record came, in the record's place.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_unfinished<T: Record>(&self, found: &Unfinished) -> Result<()> {
        self.write_envelope(T::FILE, Unfinished::SCHEMA, Vec::new(), found)
    }

    fn write_envelope<B: Serialize>(
        &self,
        file: &str,
        schema: &str,
        inputs: Vec<InputFile>,
        body: &B,
    ) -> Result<()> {
        let envelope = Envelope {
            schema: schema.to_owned(),
            inputs,
            body,
        };
        let mut text = serde_json::to_string_pretty(&envelope).context("writing JSON")?;
        text.push('\n');
        let path = self.path(FOLDER).join(file);
        write_atomically(&path, text.as_bytes())
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Removes a record that an earlier run left, so that nobody mistakes it for this run's.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove<T: Record>(&self) -> Result<()> {
        match fs::remove_file(self.path(FOLDER).join(T::FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("removing {FOLDER}/{}", T::FILE))
            }
            _ => Ok(()),
        }
    }

    /// Reads a record for a page or a table, without checking its inputs; `None` where there is none.
    pub fn peek<T: Record>(&self) -> Option<T> {
        self.peek_at(T::FILE, T::SCHEMA)
    }

    /// How far the step of a record came; `None` where it left the record, or has not begun.
    pub(crate) fn unfinished<T: Record>(&self) -> Option<Unfinished> {
        self.peek_at(T::FILE, Unfinished::SCHEMA)
    }

    fn peek_at<B: DeserializeOwned>(&self, file: &str, schema: &str) -> Option<B> {
        let text = fs::read_to_string(self.path(FOLDER).join(file)).ok()?;
        let envelope: Envelope<B> = serde_json::from_str(&text).ok()?;
        (envelope.schema == schema).then_some(envelope.body)
    }

    /// Reads a record and checks that every file it was made from is still the same.
    ///
    /// # Errors
    /// [`Input`] when it is missing, of another schema, or made from other files.
    pub fn read<T: Record>(&self) -> Result<T> {
        let name = Self::relative(T::FILE);
        let again = format!("run `serin {}` again", T::STEP);
        let text = fs::read_to_string(self.path(&name)).map_err(|e| {
            let hint = format!("run `serin {}` first", T::STEP);
            Input::new(format!("cannot be read: {e}"))
                .at_file(Path::new(&name))
                .hint(hint)
        })?;
        let wrong = |message: String| {
            anyhow::Error::from(
                Input::new(message)
                    .at_file(Path::new(&name))
                    .hint(again.clone()),
            )
        };
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_str(&text)
            .map_err(|e| wrong(format!("is no artifact of serin: {e}")))?;
        if let Some(found) = self.unfinished::<T>() {
            let because = match found.reason.is_empty() {
                true => String::new(),
                false => format!(": {}", found.reason),
            };
            let status = found.status.as_str();
            return Err(wrong(format!(
                "`serin {}` did not come to its end ({status}{because})",
                T::STEP
            )));
        }
        if head.schema != T::SCHEMA {
            return Err(wrong(format!(
                "has schema `{}`, not `{}`",
                head.schema,
                T::SCHEMA
            )));
        }
        let envelope: Envelope<T> =
            serde_json::from_str(&text).map_err(|e| wrong(format!("cannot be understood: {e}")))?;
        for input in &envelope.inputs {
            let found = Digest::of_file(&self.path(&input.path)).map_err(|e| {
                wrong(format!(
                    "was made from `{}`, which cannot be read: {e}",
                    input.path
                ))
            })?;
            if found != input.sha256 {
                return Err(wrong(format!(
                    "was made from another `{}` (sha256 {} then, {} now)",
                    input.path,
                    input.sha256.short(),
                    found.short()
                )));
            }
        }
        Ok(envelope.body)
    }
}

/// Writes a file whole or not at all: to a temporary name beside it, synced, renamed, folder synced.
///
/// # Errors
/// When any of that fails; the file is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomically`], for a writer that streams.
///
/// # Errors
/// When the writer fails or the file system does; the file is then as it was.
pub fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    write(file.temporary.as_file_mut())?;
    file.commit()
}

/// Takes the digest of what is written through it.
pub struct Hashing<W> {
    writer: W,
    hasher: Sha256,
}

impl<W> Hashing<W> {
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            hasher: Sha256::new(),
        }
    }

    /// Of all that was written.
    pub fn digest(self) -> Digest {
        Digest::from_hasher(self.hasher)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A file that is written beside its place and put there when it is whole; dropped before that it leaves
/// nothing behind.
pub struct AtomicFile {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Makes the folder too, where it is missing.
    pub fn create(path: &Path) -> io::Result<Self> {
        let folder = folder_of(path);
        fs::create_dir_all(folder)?;
        Ok(Self {
            temporary: temporary::file_in(folder)?,
            path: path.to_owned(),
        })
    }

    /// To write to.
    pub fn file(&self) -> io::Result<File> {
        self.temporary.as_file().try_clone()
    }

    /// Puts the file, which is whole, into its place.
    pub fn commit(self) -> io::Result<()> {
        let file = self.temporary.as_file();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        file.sync_all()?;
        self.temporary.persist(&self.path).map_err(|e| e.error)?;
        File::open(folder_of(&self.path))?.sync_all()
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    folder
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Note {
        text: String,
    }
    impl Record for Note {
        const FILE: &'static str = "note.json";
        const SCHEMA: &'static str = "serin/note/v1";
        const STEP: &'static str = "lint";
    }

    #[test]
    fn a_record_made_from_another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        fs::write(workspace.path("a.csv"), "1").unwrap();
        workspace
            .write(&Note { text: "x".into() }, &["a.csv"])
            .unwrap();
        assert_eq!(workspace.read::<Note>().unwrap().text, "x");
        fs::write(workspace.path("a.csv"), "2").unwrap();
        let error = workspace.read::<Note>().unwrap_err();
        let input = error.downcast_ref::<Input>().unwrap();
        assert!(
            input.to_string().contains("was made from another `a.csv`"),
            "{input}"
        );
        assert_eq!(input.hint.as_deref(), Some("run `serin lint` again"));
    }

    #[test]
    fn a_missing_or_foreign_record_names_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        assert!(
            workspace
                .read::<Note>()
                .unwrap_err()
                .downcast_ref::<Input>()
                .is_some()
        );
        fs::create_dir(workspace.path(FOLDER)).unwrap();
        fs::write(
            workspace.path(".serin/note.json"),
            "{\"schema\":\"other/v1\"}",
        )
        .unwrap();
        let error = workspace.read::<Note>().unwrap_err().to_string();
        assert!(error.contains("has schema `other/v1`"), "{error}");
    }
}
