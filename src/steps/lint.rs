//! `serin lint`: reads the tables, checks them, joins them, freezes the snapshot, and checks its profile.

mod baseline;
mod freeze;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub(super) use self::freeze::{Frozen, Ready};
use super::tables::Tables;
use super::{Context, Outcome};
use crate::config::{Config, Encoding, JoinKind, SplitRule, Spot};
use crate::data::findings::Findings;
use crate::data::join::join;
use crate::data::label::Target;
use crate::data::read::{self, Dialect, File};
use crate::data::schema::Schema;
use crate::data::split::Partition;
use crate::data::table::Table;
use crate::data::{checks, drift, snapshot, source};
use crate::error::Input;
use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::{
    Dataset, Deployed, Feature, Finding, LintReport, Profile, Pushed, Severity, SourceTable,
    Trained, Validated, Verdict,
};
use crate::workspace::{Digest, FOLDER, Record, Workspace};

/// How many findings are printed; the rest is in the record and on the page.
const PRINTED: usize = 20;

/// Which of a table's places a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// Files beside `serin.yaml`, or in Cloud Storage.
    Local,
    /// A table of BigQuery.
    #[value(name = "bigquery")]
    BigQuery,
}

/// Reads, checks and freezes the data. What it reads and finds goes to `out`, a line each.
///
/// # Errors
/// [`Input`] when a table has no such place, cannot be opened or is no table, or the schema is wrong;
/// `gcp::Error` when the cloud fails that a table or the baseline is in.
pub async fn lint(ctx: &Context, source: Source, out: &mut dyn Write) -> Result<Outcome> {
    checks::validate(&ctx.config)?;
    forget(&ctx.workspace)?;
    let mut lint = Lint {
        ctx,
        out,
        inputs: vec![relative(&ctx.workspace, &ctx.config.path)?],
        frozen: false,
    };
    let schema = lint.schema()?;
    let (tables, sources) = lint.tables(source, schema.as_ref()).await?;
    let mut findings = Findings::default();
    if let Some(ready) = check(&ctx.config, schema.as_ref(), &tables, &mut findings) {
        lint.freeze(&ready, sources, &mut findings).await?;
    }
    lint.conclude(findings)
}

/// Removes what an earlier run of this step or of a later one left, so that nobody goes on with it.
fn forget(workspace: &Workspace) -> Result<()> {
    workspace.remove::<LintReport>()?;
    workspace.remove::<Dataset>()?;
    workspace.remove::<Profile>()?;
    workspace.remove::<DriftReport>()?;
    workspace.remove::<Trained>()?;
    workspace.remove::<Validated>()?;
    workspace.remove::<Pushed>()?;
    workspace.remove::<Deployed>()
}

struct Lint<'a> {
    ctx: &'a Context,
    out: &'a mut dyn Write,
    /// The files read so far, relative to the workspace.
    inputs: Vec<String>,
    /// Whether there is a snapshot with its profile.
    frozen: bool,
}

impl Lint<'_> {
    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}").context("writing to standard output")
    }

    fn schema(&mut self) -> Result<Option<Schema>> {
        let Some(path) = &self.ctx.config.lint.schema else {
            return Ok(None);
        };
        let full = beside(&self.ctx.config.path, path);
        let schema = Schema::read(&full)?;
        let known: Vec<&str> = self
            .ctx
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
        self.inputs.push(relative(&self.ctx.workspace, &full)?);
        Ok(Some(schema))
    }

    /// Reads every table from its place.
    async fn tables(
        &mut self,
        source: Source,
        schema: Option<&Schema>,
    ) -> Result<(Vec<Table>, Vec<SourceTable>)> {
        let config = &self.ctx.config;
        let folder = config.path.parent().unwrap_or(Path::new(""));
        let mut found = Tables::default();
        let (mut tables, mut sources) = (Vec::new(), Vec::new());
        for table in &config.data.tables {
            let place = local_place(table, source)?;
            let files = found.find_in(folder, place).await?;
            let shown = match files.as_slice() {
                [only] => only.shown.to_string(),
                _ => place.value.clone(),
            };
            let (paths, sha256) = self.digest(&files)?;
            let path = match paths.as_slice() {
                [only] => only.clone(),
                _ => shown.clone(),
            };
            let several = match files.len() {
                1 => String::new(),
                n => format!(", {n} files"),
            };
            let cells = source::read(files, &dialect(table))?;
            let rule = schema.and_then(|schema| schema.table(&table.name));
            let kind = |column: &str| rule?.column(column)?.kind;
            let read = Table::new(&table.name, &shown, cells, kind);
            let (rows, columns) = (read.rows(), read.columns.len());
            self.say(&format!(
                "table {}: {rows} rows, {columns} columns ({path}{several})",
                table.name
            ))?;
            sources.push(SourceTable {
                name: table.name.clone(),
                rows: rows as u64,
                sha256,
                path,
            });
            tables.push(read);
        }
        Ok((tables, sources))
    }

    /// What the files of a table are called in the records, and their digest. Those of the workspace are
    /// inputs from here on; what was fetched is only known by its digest.
    fn digest(&mut self, files: &[File]) -> Result<(Vec<String>, Digest)> {
        let (mut paths, mut digests) = (Vec::new(), Vec::new());
        for file in files {
            let path = if file.shown.starts_with("gs://") {
                file.shown.to_string()
            } else {
                let path = relative(&self.ctx.workspace, &file.path)?;
                self.inputs.push(path.clone());
                path
            };
            let digest = Digest::of_file(&file.path).with_context(|| format!("reading {path}"))?;
            digests.push(digest);
            paths.push(path);
        }
        let digest = match digests.as_slice() {
            [only] => only.clone(),
            _ => {
                let lines = digests.iter().zip(&paths);
                let lines: String = lines.map(|(d, path)| format!("{d}  {path}\n")).collect();
                Digest::of(lines.as_bytes())
            }
        };
        Ok((paths, digest))
    }

    /// Writes the snapshot, `profile.json`, `drift.json` where there is a baseline and, unless a check of
    /// the profile rejects, `dataset.json`.
    async fn freeze(
        &mut self,
        ready: &Ready<'_>,
        tables: Vec<SourceTable>,
        findings: &mut Findings,
    ) -> Result<()> {
        let ctx = self.ctx;
        let data = &ctx.config.data;
        let (frame, label) = (&ready.frame, &data.label.column);
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
        let frozen = Frozen::new(&ctx.workspace, ready, label)?;
        self.frozen = true;
        let Frozen { train, test, .. } = &frozen;
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
        let digest = snapshot::digest(train, test);
        self.say(&format!(
            "snapshot: {FOLDER}/data, digest {}",
            digest.short()
        ))?;
        let dropped: Vec<String> = data.drop.iter().map(|name| name.value.clone()).collect();
        let drift = self.drift(&frozen, &dropped).await?;
        let history = self.history(&digest).await?;
        frozen.check(
            ready,
            &ctx.config,
            drift.as_ref(),
            &history,
            ctx.clock.now(),
            findings,
        );
        self.write(&frozen.profile)?;
        if let Some(drift) = &drift {
            self.write(drift)?;
        }
        if findings.reject() {
            return Ok(());
        }
        let features = frame
            .columns
            .iter()
            .filter(|column| column.name != **label && !dropped.contains(&column.name));
        let dataset = Dataset {
            label: ready.target.record(label),
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
            train: frozen.train,
            test: frozen.test,
        };
        self.write(&dataset)
    }

    /// Compares the snapshot with the baseline, where `lint.drift` asks for it and there is one.
    async fn drift(&mut self, frozen: &Frozen, dropped: &[String]) -> Result<Option<DriftReport>> {
        let Some(settings) = &self.ctx.config.lint.drift else {
            return Ok(None);
        };
        let Some(baseline) = self.baseline(settings).await? else {
            return Ok(None);
        };
        let current = if baseline.trained_on {
            &frozen.profile.train
        } else {
            &frozen.whole.profile
        };
        let keys = self.ctx.config.data.join.iter().flat_map(|join| &join.on);
        let unseen = keys.map(|key| key.value.as_str());
        let unseen: Vec<&str> = unseen.chain(dropped.iter().map(String::as_str)).collect();
        let (name, profile) = (&baseline.name, baseline.profile);
        let mut report = drift::compare(&profile, current, settings, &unseen, name);
        self.say(&format!(
            "drift: {} columns held against {name}, {} rows against {}",
            report.columns.len(),
            report.rows,
            report.baseline_rows
        ))?;
        report.baseline = Some(profile.without_sketches());
        Ok(Some(report))
    }

    /// Writes `lint.json` and tells the verdict, the worst findings first.
    fn conclude(mut self, findings: Findings) -> Result<Outcome> {
        let report = findings.report();
        for finding in report.findings.iter().take(PRINTED) {
            self.say(&line(finding))?;
        }
        if let Some(more) = report.findings.len().checked_sub(PRINTED)
            && more > 0
        {
            self.say(&format!(
                "{more} more in {FOLDER}/{} and on the page",
                LintReport::FILE
            ))?;
        }
        if let Some(worst) = report.findings.first() {
            self.say(&more_about(worst, self.frozen))?;
        }
        self.write(&report)?;
        let rejects = |finding: &&Finding| finding.severity == Severity::Reject;
        let rejections = report.findings.iter().filter(rejects).count();
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
        self.ctx.workspace.write(record, &inputs)
    }
}

/// A finding as a log shows it.
pub(super) fn line(finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Reject => "reject",
        Severity::Warn => "warn",
    };
    format!("{word} {}: {}", finding.check, finding.message)
}

/// The commands that show more of a finding; what is frozen can be looked at column by column.
fn more_about(finding: &Finding, frozen: bool) -> String {
    let explain = format!("more: serin lint --explain {}", finding.check);
    if finding.column.is_empty() || !frozen {
        return explain;
    }
    let column = crate::data::shown(&finding.column).replace('\'', "'\\''");
    format!("{explain}; serin profile {FOLDER}/data --column '{column}'")
}

/// How the text of a table is written.
pub(super) fn dialect(table: &crate::config::Table) -> Dialect {
    let encoding = |encoding| match encoding {
        Encoding::Utf8 => read::Encoding::Utf8,
        Encoding::Utf16Le => read::Encoding::Utf16Le,
        Encoding::Utf16Be => read::Encoding::Utf16Be,
        Encoding::Windows1252 => read::Encoding::Windows1252,
    };
    Dialect {
        delimiter: table.delimiter,
        encoding: table.encoding.map(encoding),
        ..Dialect::default()
    }
}

/// Reads the tables of a config that has local places only; for a look without a cloud.
///
/// # Errors
/// [`Input`] when a table cannot be opened or is none.
pub(super) fn local_tables(config: &Config, schema: &Schema) -> Result<Vec<Table>> {
    let folder = config.path.parent().unwrap_or(Path::new(""));
    let mut tables = Vec::new();
    for table in &config.data.tables {
        let place = local_place(table, Source::Local)?;
        let cells = source::read(read::find_in(folder, place)?, &dialect(table))?;
        let rule = schema.table(&table.name);
        let kind = |column: &str| rule?.column(column)?.kind;
        tables.push(Table::new(&table.name, place, cells, kind));
    }
    Ok(tables)
}

/// Runs every check of the tables; what is ready to freeze, unless one rejects.
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

/// The place of a table's files, where it is wanted and there.
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
pub(super) mod tests;
