//! `serin lint --infer` and `--update`: a `schema.yaml` from the tables, and what they ask of it later.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use similar::TextDiff;

use super::Outcome;
use super::tables::{Tables, dialect};
use crate::config::Config;
use crate::data::checks::{self, References};
use crate::data::findings::Findings;
use crate::data::label::MOST_CLASSES;
use crate::data::read::{self, Dialect, File};
use crate::data::schema::{Known, Schema, Seen, infer, update};
use crate::data::stats;
use crate::data::table::{Column, Kind, Table};
use crate::error::Input;
use crate::workspace::records::{ColumnType, Severity};
use crate::workspace::table_profile::TableProfile;
use crate::workspace::write_atomically;

/// What becomes of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Write a first one.
    Infer,
    /// Change the present one where the tables ask for it.
    Update,
}

/// Infers or updates the schema that `lint.schema` names, else `schema.yaml` beside `serin.yaml`. What it did
/// is printed, with a diff where it changed a file; with `dry_run` it writes nothing.
///
/// # Errors
/// [`Input`] when there is a file already that would be inferred, or none to update, and when a table cannot
/// be opened or is none.
pub(super) async fn schema(config: &Config, change: Change, dry_run: bool) -> Result<Outcome> {
    let beside = config.path.parent().unwrap_or(Path::new(""));
    let name = config.lint.schema.as_ref();
    let path = beside.join(name.map_or("schema.yaml", |name| name.as_str()));
    if change == Change::Infer && !dry_run && path.exists() {
        return Err(Input::new("is there already, and is not written over")
            .at_file(&path)
            .hint("`serin lint --update` adds to it what the tables ask for")
            .into());
    }
    // Before the tables, whose profiles take a while.
    let before = match change {
        Change::Infer => None,
        Change::Update => Some((Schema::read(&path)?, text_of(&path)?)),
    };
    let mut fetched = Tables::default();
    let label = &config.data.label.column;
    let mut looked = Vec::new();
    for table in &config.data.tables {
        let place = table.local.as_ref().ok_or_else(|| {
            Input::new(format!("table `{}` has no `local` place", table.name))
                .hint("a schema is inferred from files on this machine")
                .at(table.place.clone())
        })?;
        let files = match place.starts_with("gs://") {
            true => fetched.find(place).await?,
            false => read::find_in(beside, place)?,
        };
        looked.push(ProfiledTable::at(
            &table.name,
            place,
            files,
            &dialect(table),
            label,
        )?);
    }
    let seen: Vec<Seen> = looked.iter().map(ProfiledTable::seen).collect();
    let keys: Vec<String> = config
        .data
        .join
        .iter()
        .flat_map(|join| &join.on)
        .map(|key| key.value.clone())
        .collect();
    let known = Known { label, keys: &keys };
    let Some((schema, before)) = before else {
        let text = infer(&seen, &known);
        Schema::parse(&path, &text).context("reading the schema that was inferred")?;
        if dry_run {
            println!("{}", text.trim_end());
            return Ok(Outcome::Done);
        }
        write(&path, &text)?;
        let columns: usize = seen.iter().map(|seen| seen.profile.columns.len()).sum();
        let (tables, shown) = (seen.len(), path.display());
        println!("wrote {shown}: {tables} tables, {columns} columns");
        if name.is_none() {
            println!("`serin lint` reads it when serin.yaml says `lint: {{schema: schema.yaml}}`");
        }
        return Ok(Outcome::Done);
    };
    let tables = looked.iter().map(|looked| looked.rows(&schema));
    let tables: Vec<Table> = tables.collect::<Result<_>>()?;
    let after = update(&path, &before, &tables, &seen, &known)?;
    report(&path, &before, &after, dry_run)?;
    let schema = Schema::parse(&path, &after)?;
    let opened = |name: &str| Some(&looked.iter().find(|looked| looked.name == name)?.table);
    let references = References::read(Some(&schema), opened)?;
    for message in not_changed(config, &schema, &references, &tables) {
        println!("not changed: {message}");
    }
    Ok(Outcome::Done)
}

/// Shows what changed, and writes it.
fn report(path: &Path, before: &str, after: &str, dry_run: bool) -> Result<()> {
    let shown = path.display().to_string();
    if before == after {
        println!("{shown}: the tables ask for no change");
        return Ok(());
    }
    let diff = TextDiff::from_lines(before, after);
    let mut diff = diff.unified_diff();
    let diff = diff.header(&shown, &shown).to_string();
    println!("{}", diff.trim_end());
    if dry_run {
        println!("{shown} is left as it is (--dry-run)");
    } else {
        write(path, after)?;
        println!("changed {shown}");
    }
    Ok(())
}

/// What the tables hold against the schema that is not for `--update` to change.
fn not_changed(
    config: &Config,
    schema: &Schema,
    references: &References,
    tables: &[Table],
) -> Vec<String> {
    let mut findings = Findings::default();
    let mut totals = Vec::new();
    for table in tables {
        let found = checks::whole(config, Some(schema), references, table);
        findings.merge(found.findings);
        totals.push(found.totals);
    }
    checks::tables(config, Some(schema), &totals, &[], &mut findings);
    let found = findings.report().findings.into_iter();
    found
        .filter(|f| f.check.starts_with("schema.") && f.severity == Severity::Reject)
        .map(|f| format!("{}: {}", f.check, f.message))
        .collect()
}

/// A table with its profile, and with the label's values as they are written where it has the label.
pub(super) struct ProfiledTable {
    name: String,
    path: String,
    table: read::Table,
    profile: TableProfile,
    classes: Option<BTreeSet<String>>,
}

impl ProfiledTable {
    pub(super) fn at(
        name: &str,
        path: &str,
        files: Vec<File>,
        dialect: &Dialect,
        label: &str,
    ) -> Result<Self> {
        let table = read::Table::open(files, dialect)?;
        let profile = stats::profile(&table, &stats::Options::default())?.profile;
        let label = table.columns().iter().position(|column| column == label);
        let classes = label.map(|label| classes(&table, label)).transpose()?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            table,
            profile,
            classes: classes.flatten(),
        })
    }

    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            name: &self.name,
            profile: &self.profile,
            classes: self.classes.as_ref(),
        }
    }

    /// All rows, with the types that the schema has for their columns.
    fn rows(&self, schema: &Schema) -> Result<Table> {
        let rule = schema.table(&self.name);
        let kind = |column: &str| rule?.column(column)?.kind;
        Table::read(&self.name, &self.path, &self.table, kind)
    }
}

/// A column's values as they are written; `None` where they are too many for classes.
fn classes(table: &read::Table, column: usize) -> Result<Option<BTreeSet<String>>> {
    let mut classes = BTreeSet::new();
    let mut blocks = table.blocks()?;
    while let Some(block) = blocks.next()? {
        let batch = block.parse()?;
        let Some(values) = batch.columns.get(column) else {
            continue;
        };
        let kind = Kind::of(values, Some(ColumnType::Category));
        let column = Column::new(String::new(), values.clone(), kind);
        for value in (0..batch.rows).filter_map(|row| column.value(row)) {
            if !classes.contains(&*value) {
                classes.insert(value.into_owned());
            }
            if classes.len() > MOST_CLASSES {
                return Ok(None);
            }
        }
    }
    Ok(Some(classes))
}

fn text_of(path: &PathBuf) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, text.as_bytes())
        .map_err(|e| Input::new(format!("the schema cannot be written: {e}")).at_file(path))?;
    Ok(())
}

#[cfg(test)]
mod tests;
