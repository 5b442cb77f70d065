//! `serin profile`: the profile of any table, without a config.

mod warehouse;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context as _, Result};

use super::one_thread;
use super::tables::Tables;
use crate::config::{self, Encoding};
use crate::data::read::{Dialect, File, Table};
use crate::data::scan::Reading;
use crate::data::stats;
use crate::error::Input;
use crate::exit::code;
use crate::printable;
use crate::report::progress::Progress;
use crate::report::table_profile as report;
use crate::settings::did_you_mean;
use crate::workspace::table_profile::{NamedProfile, SCHEMA, TableProfile};
use crate::workspace::write_atomically;

/// How profiles are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Text,
    /// A JSON object a line, one for each table.
    Json,
}

/// The end of `--help`, before the exit codes.
pub(crate) const EXAMPLES: &str = "\
Examples:
  serin profile data/usage.csv
  serin profile train.parquet test.parquet --html page.html
  serin profile 'days/*.csv.gz' --format json --sketches > days.json
  serin profile week1.json week2.json --merge --column amount
  serin profile bq://my-project.churn.usage --max-bytes-billed 50GB

";

/// Profile any table, for a first look
///
/// Reads CSV (also packed with gzip or zstd), JSON Lines and Parquet, told apart by their bytes. Needs no
/// config and no project. A TABLE is a file, a pattern in quotes, a folder, or the same as a gs:// URI,
/// which is fetched first; several TABLEs are several tables. A file that `serin profile --format json`
/// wrote is a TABLE too: its profile is taken as it is. So is bq://PROJECT.DATASET.TABLE, a table, a view or
/// a wildcard such as events_*: BigQuery counts its rows, at the price that standard error tells.
///
/// Prints a line a column, then what is worth a look, the worst first. `--column` shows one column in full,
/// `--html` writes a page with every column's histogram, of up to three tables over each other.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Files, patterns in quotes, folders, gs:// URIs, profiles written as JSON, or bq:// tables
    #[arg(required = true, value_name = "TABLE")]
    pub tables: Vec<String>,
    /// A table for people, or a JSON object a table, a line each; docs/profile.md names its fields
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Write a page of up to three tables over each other, which needs no network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print this column in full: quantiles, histogram, most frequent values
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Print all columns and all that is worth a look
    #[arg(long)]
    pub all: bool,
    /// The column to predict: the others are told by how much they tell about it
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,
    /// What stands between the fields of a CSV: a character, or `tab` [default: found out]
    #[arg(long, value_name = "C", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// How the letters of a text are written, such as `latin-1`, `utf-16le` or `shift_jis`
    /// [default: UTF-8, or what a byte order mark says]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    pub encoding: Option<Encoding>,
    /// Keep in the JSON what a merge needs
    #[arg(long)]
    pub sketches: bool,
    /// Make one profile of all tables, as of shards or days
    #[arg(long)]
    pub merge: bool,
    /// Of bq:// tables: which rows are read, a condition in SQL, as where partitions have to be named
    #[arg(long = "where", value_name = "CONDITION")]
    pub filter: Option<String>,
    /// Of each bq:// table: so many bytes its queries are billed at most
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1TiB")]
    pub max_bytes_billed: u64,
    /// Of bq:// tables: the project that pays for the queries [default: the table's]
    #[arg(long, value_name = "ID", env = "SERIN_PROJECT")]
    pub project: Option<String>,
}

fn encoding(label: &str) -> Result<Encoding, String> {
    let none = || {
        let hint = config::encoding_hint(label);
        format!("there is no such encoding; {hint}")
    };
    config::encoding(label).ok_or_else(none)
}

fn size(text: &str) -> Result<u64, String> {
    config::bytes(text).ok_or_else(|| "expected bytes such as `500GB` or `2TiB`".into())
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [c] if (c.is_ascii_punctuation() && *c != b'"') || matches!(c, b'\t' | b' ') => Ok(*c),
        _ => Err("expected one character such as `;`, or `tab`".into()),
    }
}

/// Profiles the tables.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    one_thread()?.block_on(profile(&flags))?;
    Ok(code::DONE)
}

/// A table's profile.
struct Found {
    name: String,
    profile: TableProfile,
}

/// Profiles the tables and prints the profiles.
///
/// # Errors
/// [`Input`] when a table cannot be opened or is none, a column or label is in no table, profiles cannot
/// be merged, or a file cannot be written; `gcp::Error` when the cloud fails.
async fn profile(flags: &Flags) -> Result<()> {
    let mut tables = Tables::default();
    let mut found = Vec::new();
    for place in &flags.tables {
        if place.starts_with(warehouse::SCHEME) {
            found.push(Found {
                name: place.clone(),
                profile: warehouse::profile(place, flags).await?,
            });
            continue;
        }
        if flags.filter.is_some() {
            let message = "`--where` chooses rows of tables in BigQuery, and this is none";
            return Err(Input::new(message).at_file(Path::new(place)).into());
        }
        let files = tables.find(place).await?;
        found.extend(of_files(place, files, flags)?);
    }
    if flags.merge {
        found = vec![merged(&found)?];
    }
    if flags.html.is_some() && found.len() > report::MOST_TABLES {
        let message = format!(
            "a page shows {} tables over each other at most, and there are {}",
            report::MOST_TABLES,
            found.len()
        );
        return Err(Input::new(message)
            .hint("a pattern in quotes, a folder or `--merge` makes one table of several files")
            .into());
    }
    if let Some(column) = &flags.column {
        has_column(&found, column)?;
    }
    if let Some(path) = &flags.html {
        write_page(&found, path)?;
    }
    let text = match flags.format {
        Format::Text => text(&found, flags),
        Format::Json => json(found, flags)?,
    };
    print!("{text}");
    Ok(())
}

/// The profile of a place's files, or those that they hold already.
fn of_files(place: &str, files: Vec<File>, flags: &Flags) -> Result<Vec<Found>> {
    let written = match files.first() {
        Some(first) => is_profile(first)?,
        None => false,
    };
    if !written {
        return Ok(vec![of_table(place, files, flags)?]);
    }
    if flags.label.is_some() {
        return Err(
            Input::new("is a profile already, and is not held against a label again")
                .at_file(Path::new(place))
                .hint("name the table that it was made of")
                .into(),
        );
    }
    let mut found = Vec::new();
    for file in &files {
        for NamedProfile { name, profile, .. } in read_profiles(file)? {
            found.push(Found { name, profile });
        }
    }
    Ok(found)
}

fn of_table(place: &str, files: Vec<File>, flags: &Flags) -> Result<Found> {
    let dialect = Dialect {
        delimiter: flags.delimiter,
        encoding: flags.encoding,
        ..Dialect::default()
    };
    let table = Table::open(files, &dialect)?;
    let total = table.bytes();
    let bar = std::io::stderr()
        .is_terminal()
        .then(|| Progress::new(&format!("reading {place}"), Some(total)));
    let read = AtomicU64::new(0);
    let progress = |bytes: u64| {
        if let Some(bar) = &bar {
            // A column whose type was guessed wrong is read again.
            bar.set((read.fetch_add(bytes, Relaxed) + bytes).min(total));
        }
    };
    let options = stats::Options {
        label: flags.label.as_deref(),
        reading: Reading {
            threads: None,
            progress: Some(&progress),
        },
    };
    let profiled = stats::profile(&table, &options)?;
    Ok(Found {
        name: place.to_owned(),
        profile: profiled.profile,
    })
}

/// How a file with profiles begins, white space aside; the schema's name stands within so many bytes.
const HEAD: u64 = 256;

/// Whether a file holds profiles that were written before.
fn is_profile(file: &File) -> Result<bool> {
    let mut head = Vec::new();
    std::fs::File::open(&file.path)
        .and_then(|opened| opened.take(HEAD).read_to_end(&mut head))
        .map_err(|e| unreadable(file, &e.to_string()))?;
    let head = String::from_utf8_lossy(&head);
    Ok(head.trim_start().starts_with('{') && head.contains("\"serin/table-profile/"))
}

fn read_profiles(file: &File) -> Result<Vec<NamedProfile>> {
    let bytes = std::fs::read(&file.path).map_err(|e| unreadable(file, &e.to_string()))?;
    let mut profiles = Vec::new();
    for profile in serde_json::Deserializer::from_slice(&bytes).into_iter::<NamedProfile>() {
        let profile = profile.map_err(|e| {
            Input::new(format!("is no profile of a table: {e}")).at_file(Path::new(&*file.shown))
        })?;
        if profile.schema != SCHEMA {
            let message = format!("has schema `{}`, not `{SCHEMA}`", profile.schema);
            return Err(Input::new(message)
                .at_file(Path::new(&*file.shown))
                .hint("write it again with this serin")
                .into());
        }
        profiles.push(profile);
    }
    Ok(profiles)
}

fn unreadable(file: &File, why: &str) -> Input {
    Input::new(format!("the table cannot be read: {why}")).at_file(Path::new(&*file.shown))
}

fn merged(found: &[Found]) -> Result<Found> {
    let profiles: Vec<TableProfile> = found.iter().map(|f| f.profile.clone()).collect();
    let name = match found {
        [one] => one.name.clone(),
        [first, others @ ..] => format!("{} and {} more", first.name, others.len()),
        [] => String::new(),
    };
    Ok(Found {
        name,
        profile: stats::merge(&profiles)?,
    })
}

/// That one table has the column.
fn has_column(found: &[Found], column: &str) -> Result<()> {
    let names = || {
        let columns = found.iter().flat_map(|f| &f.profile.columns);
        columns.map(|c| c.name.as_str())
    };
    if names().any(|name| name == column) {
        return Ok(());
    }
    let input = Input::new(format!("there is no column `{column}`"));
    Err(match did_you_mean(column, names()) {
        Some(hint) => input.hint(hint),
        None => input,
    }
    .into())
}

fn text(found: &[Found], flags: &Flags) -> String {
    let mut parts = Vec::new();
    for found in found {
        let Found { name, profile } = found;
        let part = match &flags.column {
            Some(column) => report::column(profile, name, column),
            None => Some(report::table(profile, name, flags.all)),
        };
        parts.extend(part);
    }
    parts.join("\n")
}

fn json(found: Vec<Found>, flags: &Flags) -> Result<String> {
    let mut text = String::new();
    for Found { name, mut profile } in found {
        if let Some(column) = &flags.column {
            profile.columns.retain(|c| c.name == *column);
        }
        if !flags.sketches {
            profile = profile.without_sketches();
        }
        let named = NamedProfile {
            schema: SCHEMA.into(),
            name,
            profile,
        };
        let json = serde_json::to_string(&named).context("writing JSON")?;
        text.push_str(&printable::json(&json));
        text.push('\n');
    }
    Ok(text)
}

fn write_page(found: &[Found], path: &Path) -> Result<()> {
    let labels = labels(found);
    let tables: Vec<(&str, &TableProfile)> = labels
        .iter()
        .zip(found)
        .map(|(label, found)| (label.as_str(), &found.profile))
        .collect();
    write_atomically(path, report::page(&tables).as_bytes())
        .map_err(|e| Input::new(format!("the page cannot be written: {e}")).at_file(path))?;
    Ok(())
}

/// What a page calls the tables: the ends of their names, where these tell them apart.
fn labels(found: &[Found]) -> Vec<String> {
    let end = |name: &str| {
        let name = name.trim_end_matches('/');
        name.rsplit('/').next().unwrap_or(name).to_owned()
    };
    let ends: Vec<String> = found.iter().map(|f| end(&f.name)).collect();
    let mut apart = ends.clone();
    apart.sort();
    apart.dedup();
    if apart.len() == ends.len() {
        ends
    } else {
        found.iter().map(|f| f.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_called_by_what_tells_them_apart() {
        let called = |names: &[&str]| {
            let found: Vec<Found> = names
                .iter()
                .map(|name| Found {
                    name: (*name).into(),
                    profile: TableProfile::default(),
                })
                .collect();
            labels(&found)
        };
        assert_eq!(
            called(&["a/train.csv", "gs://b/test/"]),
            ["train.csv", "test"]
        );
        assert_eq!(called(&["a/t.csv", "b/t.csv"]), ["a/t.csv", "b/t.csv"]);
    }
}
