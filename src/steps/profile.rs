//! `serin profile`: the profile of any table, without a config.

use std::io::{ErrorKind, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context as _, Result};

use super::Outcome;
use super::tables::Tables;
use crate::data::read::{Dialect, File, Table};
use crate::data::scan::Reading;
use crate::data::stats;
use crate::error::Input;
use crate::printable;
use crate::report::progress::Progress;
use crate::report::table_profile as report;
use crate::settings::did_you_mean;
use crate::workspace::table_profile::{NamedProfile, SCHEMA, TableProfile};
use crate::workspace::write_atomically;

/// How profiles are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    Text,
    /// A JSON object a line, one for each table.
    Json,
}

/// What `serin profile` was asked for.
#[derive(Clone, Debug)]
pub struct Args {
    /// Files, quoted patterns, folders, `gs://` URIs, or profiles that were written before.
    pub tables: Vec<String>,
    pub format: Format,
    /// Where the page goes.
    pub html: Option<PathBuf>,
    /// The one column to print.
    pub column: Option<String>,
    /// Print every column and remark.
    pub all: bool,
    pub label: Option<String>,
    pub dialect: Dialect,
    /// Keep in the JSON what a merge needs.
    pub sketches: bool,
    /// Print the tables as if they were one.
    pub merge: bool,
}

/// A table's profile.
struct Found {
    name: String,
    profile: TableProfile,
}

/// Profiles the tables and prints the profiles to `out`.
///
/// # Errors
/// [`Input`] when a table cannot be opened or is none, a column or label is in no table, profiles cannot
/// be merged, or a file cannot be written; `gcp::Error` when the cloud fails.
pub async fn profile(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let mut tables = Tables::default();
    let mut found = Vec::new();
    for place in &args.tables {
        let files = tables.find(place).await?;
        found.extend(of_files(place, files, args)?);
    }
    if args.merge {
        found = vec![merged(&found)?];
    }
    if args.html.is_some() && found.len() > report::MOST_TABLES {
        let message = format!(
            "a page shows {} tables over each other at most, and there are {}",
            report::MOST_TABLES,
            found.len()
        );
        return Err(Input::new(message)
            .hint("a pattern in quotes, a folder or `--merge` makes one table of several files")
            .into());
    }
    if let Some(column) = &args.column {
        has_column(&found, column)?;
    }
    if let Some(path) = &args.html {
        write_page(&found, path)?;
    }
    let text = match args.format {
        Format::Text => text(&found, args),
        Format::Json => json(found, args)?,
    };
    say(out, &text)?;
    Ok(Outcome::Done)
}

/// A reader that went away has read enough.
fn say(out: &mut dyn Write, text: &str) -> Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("writing to standard output"),
        _ => Ok(()),
    }
}

/// The profile of a place's files, or those that they hold already.
fn of_files(place: &str, files: Vec<File>, args: &Args) -> Result<Vec<Found>> {
    let written = match files.first() {
        Some(first) => is_profile(first)?,
        None => false,
    };
    if !written {
        return Ok(vec![of_table(place, files, args)?]);
    }
    if args.label.is_some() {
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

fn of_table(place: &str, files: Vec<File>, args: &Args) -> Result<Found> {
    let table = Table::open(files, &args.dialect)?;
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
        label: args.label.as_deref(),
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

fn text(found: &[Found], args: &Args) -> String {
    let mut parts = Vec::new();
    for found in found {
        let Found { name, profile } = found;
        let part = match &args.column {
            Some(column) => report::column(profile, name, column),
            None => Some(report::table(profile, name, args.all)),
        };
        parts.extend(part);
    }
    parts.join("\n")
}

fn json(found: Vec<Found>, args: &Args) -> Result<String> {
    let mut text = String::new();
    for Found { name, mut profile } in found {
        if let Some(column) = &args.column {
            profile.columns.retain(|c| c.name == *column);
        }
        if !args.sketches {
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
