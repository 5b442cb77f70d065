//! `serin lint`: reads the tables, checks them, joins them, and freezes the snapshot with its profile.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Outcome;
use crate::config::{Config, JoinKind, SplitRule, Spot};
use crate::data::findings::Findings;
use crate::data::frame::Frame;
use crate::data::join::join;
use crate::data::label::Target;
use crate::data::schema::Schema;
use crate::data::split::Partition;
use crate::data::table::Table;
use crate::data::{checks, profile, snapshot, source};
use crate::error::Input;
use crate::workspace::records::{
    Dataset, Deployed, Feature, LintReport, Profile, Pushed, Severity, SourceTable, Trained,
    Validated, Verdict,
};
use crate::workspace::{Digest, FOLDER, Record, Workspace};

/// Which of a table's places a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// A file beside `serin.yaml`.
    Local,
    /// A table of BigQuery.
    #[value(name = "bigquery")]
    BigQuery,
}

/// Reads, checks and freezes the data. What it reads and finds goes to `out`, a line each.
///
/// # Errors
/// [`Input`] when a table has no such place, cannot be opened or is no table, or the schema is wrong.
pub fn lint(
    config: &Config,
    workspace: &Workspace,
    source: Source,
    out: &mut dyn Write,
) -> Result<Outcome> {
    checks::validate(config)?;
    forget(workspace)?;
    let mut lint = Lint {
        config,
        workspace,
        out,
        inputs: vec![relative(workspace, &config.path)?],
    };
    let schema = lint.schema()?;
    let (tables, sources) = lint.tables(source, schema.as_ref())?;
    let mut findings = Findings::default();
    if let Some(ready) = check(config, schema.as_ref(), &tables, &mut findings) {
        lint.freeze(&ready, sources)?;
    }
    lint.conclude(findings)
}

/// Removes what an earlier run of this step or of a later one left, so that nobody goes on with it.
fn forget(workspace: &Workspace) -> Result<()> {
    workspace.remove::<LintReport>()?;
    workspace.remove::<Dataset>()?;
    workspace.remove::<Profile>()?;
    workspace.remove::<Trained>()?;
    workspace.remove::<Validated>()?;
    workspace.remove::<Pushed>()?;
    workspace.remove::<Deployed>()
}

/// The joined table with all that a snapshot needs.
pub(super) struct Ready<'a> {
    frame: Frame<'a>,
    target: Target,
    partition: Partition,
}

struct Lint<'a> {
    config: &'a Config,
    workspace: &'a Workspace,
    out: &'a mut dyn Write,
    /// The files read so far, relative to the workspace.
    inputs: Vec<String>,
}

impl Lint<'_> {
    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}").context("writing to standard output")
    }

    fn schema(&mut self) -> Result<Option<Schema>> {
        let Some(path) = &self.config.lint.schema else {
            return Ok(None);
        };
        let full = beside(&self.config.path, path);
        let schema = Schema::read(&full)?;
        let known: Vec<&str> = self
            .config
            .data
            .tables
            .iter()
            .map(|t| t.name.as_str())
            .collect();
        let stranger = schema
            .tables
            .iter()
            .find(|t| !known.contains(&t.name.as_str()));
        if let Some(table) = stranger {
            let near = known
                .iter()
                .find(|name| strsim::jaro_winkler(name, &table.name) > 0.8);
            let hint = match near {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("its tables are `{}`", known.join("`, `")),
            };
            let message = format!("serin.yaml has no table `{}`", *table.name);
            let place = table.name.place.clone();
            return Err(Input::new(message).at(place).hint(hint).into());
        }
        self.inputs.push(relative(self.workspace, &full)?);
        Ok(Some(schema))
    }

    /// Reads every table from its place.
    fn tables(
        &mut self,
        source: Source,
        schema: Option<&Schema>,
    ) -> Result<(Vec<Table>, Vec<SourceTable>)> {
        let (mut tables, mut sources) = (Vec::new(), Vec::new());
        for table in &self.config.data.tables {
            let local = local_place(table, source)?;
            let full = beside(&self.config.path, local);
            let cells = source::read(&full, local)?;
            let path = relative(self.workspace, &full)?;
            let rule = schema.and_then(|schema| schema.table(&table.name));
            let kind = |column: &str| rule?.column(column)?.kind;
            let read = Table::new(&table.name, local, cells, kind);
            let (rows, columns) = (read.rows(), read.columns.len());
            self.say(&format!(
                "table {}: {rows} rows, {columns} columns ({path})",
                table.name
            ))?;
            sources.push(SourceTable {
                name: table.name.clone(),
                rows: rows as u64,
                sha256: Digest::of_file(&full).with_context(|| format!("reading {path}"))?,
                path: path.clone(),
            });
            self.inputs.push(path);
            tables.push(read);
        }
        Ok((tables, sources))
    }

    /// Writes the snapshot, `profile.json` and `dataset.json`.
    fn freeze(&mut self, ready: &Ready, tables: Vec<SourceTable>) -> Result<()> {
        let Ready {
            frame,
            target,
            partition,
        } = ready;
        let data = &self.config.data;
        if let Some(join) = &data.join {
            let how = match join.how {
                JoinKind::Inner => "inner",
                JoinKind::Left => "left",
                JoinKind::Outer => "outer",
            };
            let (on, rows, columns) = (names(&join.on), frame.rows(), frame.columns.len());
            self.say(&format!(
                "{how} join on {on}: {rows} rows, {columns} columns"
            ))?;
        }
        let (train, test): (Vec<usize>, Vec<usize>) =
            (0..frame.rows()).partition(|row| !partition.is_test(*row));
        let part = |name: &str, rows: &[usize]| {
            let path = format!("{FOLDER}/data/{name}.parquet");
            snapshot::write(self.workspace, &path, frame, target, rows)
        };
        let train = part("train", &train)?;
        let test = part("test", &test)?;
        let seed = data.split.seed;
        let rule = match &data.split.rule {
            SplitRule::Hash { by, .. } if by.is_empty() => {
                format!("by the hash of the whole row, seed {seed}")
            }
            SplitRule::Hash { by, .. } => format!("by the hash of {}, seed {seed}", names(by)),
            SplitRule::Time { column, test_from } => {
                format!("to test from {test_from} on, by {}", **column)
            }
        };
        self.say(&format!(
            "split: {} rows to train, {} to test ({rule})",
            train.rows, test.rows
        ))?;
        let digest = snapshot::digest(&train, &test);
        self.say(&format!(
            "snapshot: {FOLDER}/data, digest {}",
            digest.short()
        ))?;
        let dropped: Vec<String> = data.drop.iter().map(|name| name.value.clone()).collect();
        let features = frame
            .columns
            .iter()
            .filter(|column| column.name != *data.label.column && !dropped.contains(&column.name));
        let dataset = Dataset {
            label: target.record(&data.label.column),
            seed,
            tables,
            features: features
                .map(|column| Feature {
                    name: column.name.clone(),
                    kind: column.kind,
                })
                .collect(),
            dropped,
            digest,
            train,
            test,
        };
        self.write(&profile::profile(frame, target, partition))?;
        self.write(&dataset)
    }

    /// Writes `lint.json` and tells the verdict.
    fn conclude(mut self, findings: Findings) -> Result<Outcome> {
        let report = findings.report();
        let mut rejections = 0;
        for finding in &report.findings {
            let word = match finding.severity {
                Severity::Reject => "reject",
                Severity::Warn => "warn",
            };
            rejections += usize::from(finding.severity == Severity::Reject);
            self.say(&format!("{word} {}: {}", finding.check, finding.message))?;
        }
        self.write(&report)?;
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        self.say(&format!(
            "lint: {} ({}, {})",
            report.verdict.as_str(),
            plural(rejections, "rejection"),
            plural(report.findings.len() - rejections, "warning")
        ))?;
        Ok(match report.verdict {
            Verdict::Reject => Outcome::Rejected,
            Verdict::Pass | Verdict::Inconclusive => Outcome::Done,
        })
    }

    fn write<T: Record>(&self, record: &T) -> Result<()> {
        let inputs: Vec<&str> = self.inputs.iter().map(String::as_str).collect();
        self.workspace.write(record, &inputs)
    }
}

/// Runs every check; what is ready to freeze, unless one rejects.
pub(super) fn check<'t>(
    config: &Config,
    schema: Option<&Schema>,
    tables: &'t [Table],
    findings: &mut Findings,
) -> Option<Ready<'t>> {
    let data = &config.data;
    let on = data.join.iter().flat_map(|join| &join.on);
    let on: Vec<String> = on.map(|key| key.value.clone()).collect();
    let how = data.join.as_ref().map_or(JoinKind::Inner, |join| join.how);
    let joined = join(tables, &on, how);
    checks::tables(config, schema, tables, &joined.faults, findings);
    let frame = joined.frame?;
    let label = &data.label;
    let rule = schema
        .iter()
        .flat_map(|schema| &schema.tables)
        .find_map(|table| table.column(&label.column));
    let target = frame.find(&label.column).and_then(|column| {
        let positive = label.positive.as_ref().map(|p| p.value.as_str());
        Target::of(&frame, column, positive, rule.and_then(|rule| rule.kind))
    });
    let partition = Partition::of(&frame, &data.split);
    checks::dataset(
        config,
        &frame,
        target.as_ref(),
        rule,
        partition.as_ref(),
        findings,
    );
    if findings.reject() {
        return None;
    }
    Some(Ready {
        frame,
        target: target?,
        partition: partition?,
    })
}

/// The file of a table, where its local place is wanted and there.
fn local_place(table: &crate::config::Table, source: Source) -> Result<&Spot<String>> {
    let name = &table.name;
    let error = match (source, &table.local) {
        (Source::Local, Some(local)) => return Ok(local),
        (Source::Local, None) => Input::new(format!("table `{name}` has no `local` place")).hint(
            format!("add one, as in `{name}: {{local: data/{name}.csv}}`"),
        ),
        (Source::BigQuery, local) => {
            let other = match local {
                Some(local) => format!("its `local` place is `{}`", **local),
                None => "it has no `local` place".to_owned(),
            };
            Input::new(format!(
                "table `{name}` is wanted from BigQuery, this version reads `local` places only; {other}"
            ))
            .hint("take `--source=local`, in a build `-s _SOURCE=local`")
        }
    };
    Err(error.at(table.place.clone()).into())
}

fn names(columns: &[Spot<String>]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.value.as_str()).collect();
    names.join(", ")
}

/// A path that `serin.yaml` names relative to itself.
fn beside(config: &Path, path: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(path)
}

/// A file's path relative to the workspace, with `/` between its parts.
fn relative(workspace: &Workspace, path: &Path) -> Result<String> {
    let root = match workspace.root() {
        root if root.as_os_str().is_empty() => Path::new("."),
        root => root,
    };
    let root = root
        .canonicalize()
        .map_err(|e| Input::new(format!("the workspace cannot be found: {e}")).at_file(root))?;
    let found = path
        .canonicalize()
        .map_err(|e| Input::new(format!("cannot be found: {e}")).at_file(path))?;
    let inside = found.strip_prefix(&root).map_err(|_| {
        Input::new("lies outside of the build's workspace")
            .at_file(path)
            .hint("copy it beside `serin.yaml`: a build sees nothing else")
    })?;
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests;
