//! `serin init`: the first `serin.yaml`, `schema.yaml` and `cloudbuild.yaml`, from a look at the tables.

mod files;
mod look;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::look::Look;
use super::Outcome;
use super::lint::judge;
use super::schema::ProfiledTable;
use super::tables::dialect;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::data::freeze::{self, freeze};
use crate::data::read::{self, Dialect, File};
use crate::data::scan::Reading;
use crate::data::schema::{Known, Schema, Seen, infer};
use crate::error::Input;
use crate::printable::word;
use crate::workspace::records::Severity;
use crate::workspace::{FOLDER, Workspace, write_atomically};

/// Write a first serin.yaml, schema.yaml and cloudbuild.yaml from a look at the data
///
/// Reads the tables, overwrites nothing.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    /// The files: CSV, JSON Lines or Parquet
    #[arg(required = true, value_name = "TABLE")]
    pub tables: Vec<PathBuf>,
    /// The column to predict
    #[arg(long, value_name = "COLUMN")]
    pub label: String,
    /// The column that several tables share
    #[arg(long, value_name = "COLUMN")]
    pub join_on: Option<String>,
    /// Where to write the files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Writes the first files.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    Ok(init(&flags)?.exit_code())
}

/// Looks at the tables and writes the files; what it did is printed, a line each. Rejected, with the files
/// written all the same, where `serin lint` would reject the tables as they are.
///
/// # Errors
/// [`Input`] when a file is there already, a table cannot be opened or is none, or the label or the key is
/// in no table.
fn init(flags: &Flags) -> Result<Outcome> {
    for name in ["serin.yaml", "schema.yaml", "cloudbuild.yaml"] {
        let path = flags.dir.join(name);
        if path.exists() {
            return Err(Input::new("is there already, and is not written over")
                .at_file(&path)
                .hint("name another folder with `--dir DIR`, or move the file away")
                .into());
        }
    }
    if flags.tables.len() > 1 && flags.join_on.is_none() {
        return Err(Input::new("several tables need a column to be joined on")
            .hint("name it with `--join-on COLUMN`")
            .into());
    }
    if flags.tables.len() == 1 && flags.join_on.is_some() {
        return Err(Input::new("`--join-on` is for several tables, and there is one").into());
    }
    let seen = flags
        .tables
        .iter()
        .map(|path| {
            let file = File {
                path: path.clone(),
                shown: path.to_string_lossy().into(),
            };
            let table = read::Table::open(vec![file], &Dialect::default())?;
            Ok((path.as_path(), table))
        })
        .collect::<Result<Vec<_>>>()?;
    let look = Look::at(seen, &flags.label, flags.join_on.as_deref())?;
    fs::create_dir_all(&flags.dir)
        .map_err(|e| Input::new(format!("the folder cannot be made: {e}")).at_file(&flags.dir))?;
    let mut places = Vec::new();
    for path in &flags.tables {
        places.push(place(path, &flags.dir)?);
    }
    let schema = schema(&look, &flags.tables)?;
    for name in look.write(&flags.dir, &places, schema)? {
        println!("wrote {}", flags.dir.join(name).display());
    }
    for line in look.summary() {
        println!("{line}");
    }
    rehearse(&flags.dir)
}

/// The text of `schema.yaml`.
fn schema(look: &Look, paths: &[PathBuf]) -> Result<String> {
    let looked = look.tables.iter().zip(paths).map(|(table, path)| {
        let file = File {
            path: path.clone(),
            shown: path.display().to_string().into(),
        };
        let (name, dialect) = (&table.name, Dialect::default());
        ProfiledTable::at(name, &table.path, vec![file], &dialect, &look.label)
    });
    let looked = looked.collect::<Result<Vec<_>>>()?;
    let seen: Vec<Seen> = looked.iter().map(ProfiledTable::seen).collect();
    let keys: Vec<String> = look.join_on.iter().cloned().collect();
    let known = Known {
        label: &look.label,
        keys: &keys,
    };
    Ok(infer(&seen, &known))
}

/// A table's path relative to `dir`, into which it is copied if it lies outside.
fn place(path: &Path, dir: &Path) -> Result<String> {
    let wrong = |message: String| anyhow::Error::from(Input::new(message).at_file(path));
    let full = |path: &Path| {
        path.canonicalize()
            .map_err(|e| wrong(format!("cannot be found: {e}")))
    };
    let (table, folder) = (full(path)?, full(dir)?);
    if let Ok(inside) = table.strip_prefix(&folder)
        && !inside.starts_with(FOLDER)
    {
        let parts = inside.iter().map(|part| part.to_str());
        let parts = parts.collect::<Option<Vec<_>>>();
        let parts = parts.ok_or_else(|| wrong("the path is no UTF-8 text".to_owned()))?;
        return Ok(parts.join("/"));
    }
    let name = table.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| wrong("the file's name is no UTF-8 text".to_owned()))?;
    let relative = format!("data/{name}");
    let copy = dir.join(&relative);
    let bytes = fs::read(&table).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    match fs::read(&copy) {
        Ok(found) if found == bytes => return Ok(relative),
        Ok(_) => {
            let message = format!(
                "another file is there already, and {} was to be copied there",
                path.display()
            );
            return Err(Input::new(message).at_file(&copy).into());
        }
        Err(_) => write_atomically(&copy, &bytes)
            .with_context(|| format!("copying {}", path.display()))?,
    }
    println!("copied {} to {}", path.display(), copy.display());
    Ok(relative)
}

/// Reads what was written as `serin lint` will, and tells what it would reject.
fn rehearse(dir: &Path) -> Result<Outcome> {
    let config = Config::read(&dir.join("serin.yaml")).context("reading back what was written")?;
    let schema = Schema::read(&dir.join("schema.yaml")).context("reading back what was written")?;
    let mut sources = Vec::new();
    for table in &config.data.tables {
        let place = table.local.as_ref().context("a table without a place")?;
        let files = read::find_in(dir, place)?;
        sources.push(freeze::Source {
            name: table.name.clone(),
            path: place.value.clone(),
            table: read::Table::open(files, &dialect(table))?,
        });
    }
    // The snapshot is only needed for its profile.
    let scratch = tempfile::tempdir().context("making a temporary folder")?;
    let workspace = Workspace::new(scratch.path());
    let reading = Reading::default();
    let frozen = freeze(&config, Some(&schema), &workspace, &sources, &reading)?;
    let mut findings = frozen.findings;
    if let Some(joined) = &frozen.joined {
        let now = Timestamp::real_now();
        judge::check(
            joined,
            &frozen.tables,
            &config,
            None,
            &[],
            now,
            &mut findings,
        );
    }
    let rejected = findings.reject();
    for finding in findings.report().findings {
        if finding.severity == Severity::Reject {
            println!("lint will reject {}: {}", finding.check, finding.message);
        }
    }
    if rejected {
        return Ok(Outcome::Rejected);
    }
    println!("next: serin run {}", word(&dir.display().to_string()));
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests;
