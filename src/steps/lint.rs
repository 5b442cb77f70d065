//! `serin lint`: reads the tables, checks them, joins them, freezes the snapshot, and checks its profile.

mod baseline;
pub(super) mod judge;
mod text;
mod warehouse;

pub(super) use baseline::profile_in;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::schema::{Change, schema};
use super::tables::{Tables, dialect};
use super::{CommonFlags, ConfigFlag, Context, Outcome, finish, measured, one_thread};
use crate::clock::Timestamp;
use crate::config::GateRule;
use crate::config::{Baseline, Config, JoinKind, SplitRule, Spot};
use crate::data::findings::Findings;
use crate::data::freeze::{self, Frozen, Joined};
use crate::data::read::{self, File};
use crate::data::scan::Reading;
use crate::data::schema::Schema;
use crate::data::table::Totals;
use crate::data::{checks, counted, drift, snapshot};
use crate::defaults;
use crate::error::Input;
use crate::exit::code;
use crate::model::gate;
use crate::report::progress::Progress;
use crate::settings::did_you_mean;
use crate::workspace::drift_report::DriftReport;
use crate::workspace::reason::Reason;
use crate::workspace::records::{
    Dataset, Deployed, Feature, LintReport, Profile, Pushed, SourceTable, Trained, Validated,
    Verdict, WatchedObjects,
};
use crate::workspace::{Digest, InputFile, Record, Workspace};

/// Which of a table's places a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Source {
    /// Files beside `serin.yaml`, or in Cloud Storage.
    Local,
    /// A table of BigQuery.
    #[value(name = "bigquery")]
    BigQuery,
}

/// Check the tables and freeze a snapshot of them
///
/// Reads serin.yaml, its tables (CSV, JSON Lines or Parquet, on disk or gs://) and schema.yaml. Writes
/// .serin/lint.json, .serin/data/{train,test}.parquet with .serin/profile.json, .serin/drift.json where
/// `lint.drift` asks for it and, unless the data is rejected, .serin/dataset.json.
///
/// With --infer it writes the first schema.yaml, with --update it changes the present one where the tables
/// ask for it: new values, wider ranges, columns that came or went.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The project, by id; asked for where `lint.drift` looks for the champion
    #[arg(long, env = "SERIN_PROJECT")]
    pub project: Option<String>,
    /// The location of job, model and endpoint; likewise
    #[arg(long, env = "SERIN_REGION")]
    pub region: Option<String>,
    #[command(flatten)]
    pub config: ConfigFlag,
    /// Which of a table's places to read
    #[arg(long, value_enum, default_value = "local", env = "SERIN_SOURCE")]
    pub source: Source,
    /// Say what a check is for, and check nothing
    #[arg(long, value_name = "CHECK")]
    pub explain: Option<String>,
    /// Write a first schema.yaml from the tables, and check nothing
    #[arg(long, conflicts_with = "update")]
    pub infer: bool,
    /// Add to schema.yaml what the tables ask for, show the diff, and check nothing
    #[arg(long)]
    pub update: bool,
    /// With --infer print the schema, with --update the diff, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Checks the tables, or does what the flags ask for instead.
///
/// # Errors
/// [`Input`] for flags that do not go together, and those of the step.
pub(crate) fn command(mut flags: Flags) -> Result<u8> {
    if let Some(check) = &flags.explain {
        println!("{}", checks::explain(check)?);
        return Ok(code::DONE);
    }
    let config = &flags.config.config;
    if flags.infer || flags.update {
        let change = if flags.infer {
            Change::Infer
        } else {
            Change::Update
        };
        let config = Config::read(config)?;
        let changed = one_thread()?.block_on(schema(&config, change, flags.dry_run))?;
        return Ok(changed.exit_code());
    }
    if flags.dry_run {
        return Err(Input::new("`--dry-run` is for `--infer` and `--update`").into());
    }
    flags.project = flags.project.or_else(defaults::project);
    flags.region = flags.region.or_else(defaults::region);
    if flags.source == Source::BigQuery && flags.project.is_none() {
        let message = "BigQuery's queries are jobs of a project, and need `--project` for it";
        return Err(Input::new(message).into());
    }
    if (flags.project.is_none() || flags.region.is_none())
        && asks_for_champion(&Config::read(config)?)
    {
        let message =
            "`lint.drift` looks for the champion, and needs `--project` and `--region` for it";
        return Err(Input::new(message)
            .hint("`lint.drift.against` may also name the file of a profile")
            .into());
    }
    let common = CommonFlags {
        project: Some(flags.project.unwrap_or_default()),
        region: Some(flags.region.unwrap_or_default()),
        config: flags.config,
    };
    super::run_step::<LintReport>(common, async |ctx| {
        let outcome = lint(ctx, flags.source).await?;
        finish(&ctx.workspace, "lint", outcome, &json!({}))?;
        Ok(outcome)
    })
}

/// Whether the data is held against what the model was trained on that serves now.
fn asks_for_champion(config: &Config) -> bool {
    let drift = config.lint.drift.as_ref();
    drift.is_some_and(|drift| matches!(drift.against, Baseline::Champion))
}

/// Reads, checks and freezes the data. What it reads and finds is printed, a line each.
///
/// # Errors
/// [`Input`] when a table has no such place, cannot be opened or is no table, or the schema is wrong;
/// `gcp::Error` when the cloud fails that a table or the baseline is in.
async fn lint(ctx: &Context, source: Source) -> Result<Outcome> {
    checks::validate(&ctx.config)?;
    remove_old_records(&ctx.workspace)?;
    let mut lint = Lint {
        ctx,
        inputs: vec![
            ctx.workspace
                .input(&relative(&ctx.workspace, &ctx.config.path)?)?,
        ],
        frozen: false,
        watched: measured::watched_now(ctx).await?,
    };
    let schema = lint.schema()?;
    let (frozen, tables) = match source {
        Source::Local => lint.freeze_files(schema.as_ref()).await?,
        Source::BigQuery => warehouse::freeze(&mut lint, schema.as_ref()).await?,
    };
    let mut findings = frozen.findings;
    if let Some(joined) = frozen.joined {
        let read = &frozen.tables;
        lint.judge(joined, read, tables, &mut findings).await?;
    }
    let outcome = lint.conclude(findings)?;
    warehouse::forget_moment(&ctx.workspace)?;
    Ok(outcome)
}

/// Where a table is read.
struct ReadFrom {
    /// As the records name it.
    path: String,
    /// Its files, as the records name them.
    files: Vec<(String, PathBuf)>,
}

/// Removes what an earlier run of this step or of a later one left, so that nobody goes on with it.
fn remove_old_records(workspace: &Workspace) -> Result<()> {
    // The report's place tells already that this run has begun.
    if workspace.unfinished::<LintReport>().is_none() {
        workspace.remove::<LintReport>()?;
    }
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
    /// The files of the workspace that were read so far.
    inputs: Vec<InputFile>,
    /// Whether there is a snapshot on this machine, whose columns can be looked at.
    frozen: bool,
    /// The folder of `triggers.new_data.objects`, where the config names one, before the tables are read.
    watched: Option<WatchedObjects>,
}

impl Lint<'_> {
    /// Reads, checks and freezes files, and prints what they were.
    async fn freeze_files(
        &mut self,
        schema: Option<&Schema>,
    ) -> Result<(Frozen, Vec<SourceTable>)> {
        let mut tables = Tables::default();
        let (sources, places) = self.sources(&mut tables).await?;
        let (frozen, digests) = self.freeze(schema, &sources, &places)?;
        let tables = self.print_tables(&frozen, places, digests)?;
        Ok((frozen, tables))
    }

    fn schema(&mut self) -> Result<Option<Schema>> {
        let Some(path) = &self.ctx.config.lint.schema else {
            return Ok(None);
        };
        let full = beside(&self.ctx.config.path, path);
        let schema = Schema::read(&full)?;
        let data = &self.ctx.config.data;
        let tables = data.tables.iter().map(|t| t.name.as_str());
        let query = data.query.iter().map(|_| warehouse::QUERY);
        let known: Vec<&str> = tables.chain(query).collect();
        let stranger = schema
            .tables
            .iter()
            .find(|t| !known.contains(&t.name.as_str()));
        if let Some(table) = stranger {
            let hint = did_you_mean(&table.name, known.iter().copied())
                .unwrap_or_else(|| format!("its tables are `{}`", known.join("`, `")));
            let message = format!("serin.yaml has no table `{}`", *table.name);
            let place = table.name.place.clone();
            return Err(Input::new(message).at(place).hint(hint).into());
        }
        let inside = relative(&self.ctx.workspace, &full)?;
        self.inputs.push(self.ctx.workspace.input(&inside)?);
        Ok(Some(schema))
    }

    /// Finds the files of every table, which `tables` keeps.
    async fn sources(&self, tables: &mut Tables) -> Result<(Vec<freeze::Source>, Vec<ReadFrom>)> {
        let config = &self.ctx.config;
        if let (Some(query), true) = (&config.data.query, config.data.tables.is_empty()) {
            return Err(Input::new(
                "`data.query` is run by BigQuery, and `data.tables` names no files",
            )
            .at(query.place.clone())
            .hint("take `--source=bigquery`, in a build `-s _SOURCE=bigquery`")
            .into());
        }
        let folder = config.path.parent().unwrap_or(Path::new(""));
        let (mut sources, mut places) = (Vec::new(), Vec::new());
        for table in &config.data.tables {
            let place = local_place(table)?;
            let files = tables.find_in(folder, place).await?;
            let shown = match files.as_slice() {
                [only] => only.shown.to_string(),
                _ => place.value.clone(),
            };
            let named = files.iter().map(|file| self.named(file));
            let named: Vec<(String, PathBuf)> = named.collect::<Result<_>>()?;
            let path = match named.as_slice() {
                [(only, _)] => only.clone(),
                _ => shown.clone(),
            };
            places.push(ReadFrom { path, files: named });
            sources.push(freeze::Source {
                name: table.name.clone(),
                path: shown,
                table: read::Table::open(files, &dialect(table))?,
            });
        }
        Ok((sources, places))
    }

    /// What a table's file is called in the records.
    fn named(&self, file: &File) -> Result<(String, PathBuf)> {
        let name = match file.shown.starts_with("gs://") {
            true => file.shown.to_string(),
            false => relative(&self.ctx.workspace, &file.path)?,
        };
        Ok((name, file.path.clone()))
    }

    /// Reads and checks the tables and freezes their rows; takes the digests of the files beside that.
    fn freeze(
        &self,
        schema: Option<&Schema>,
        sources: &[freeze::Source],
        places: &[ReadFrom],
    ) -> Result<(Frozen, Vec<Vec<Digest>>)> {
        let total: u64 = sources.first().map_or(0, |source| source.table.bytes());
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| Progress::new("reading", Some(total)));
        let read = AtomicU64::new(0);
        let progress = |bytes: u64| {
            if let Some(bar) = &bar {
                // A table whose types were taken wrong is read again.
                bar.set((read.fetch_add(bytes, Relaxed) + bytes).min(total));
            }
        };
        let reading = Reading {
            threads: None,
            progress: Some(&progress),
        };
        let Context {
            config, workspace, ..
        } = self.ctx;
        let digest = |(name, path): &(String, PathBuf)| {
            Digest::of_file(path).with_context(|| format!("reading {name}"))
        };
        let digests = || -> Result<Vec<Vec<Digest>>> {
            let of_table = |place: &ReadFrom| place.files.iter().map(digest).collect();
            places.iter().map(of_table).collect()
        };
        std::thread::scope(|scope| {
            let digests = scope.spawn(digests);
            let frozen = freeze::freeze(config, schema, workspace, sources, &reading);
            let digests = digests.join();
            let digests = digests.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((frozen?, digests?))
        })
    }

    /// Prints what was read: rows, what of them is left out, and types that a cell forced.
    fn print_tables(
        &mut self,
        frozen: &Frozen,
        places: Vec<ReadFrom>,
        digests: Vec<Vec<Digest>>,
    ) -> Result<Vec<SourceTable>> {
        let mut tables = Vec::new();
        let read = frozen.tables.iter().zip(&frozen.forced);
        for ((table, forced), (place, digests)) in read.zip(places.into_iter().zip(digests)) {
            let several = match place.files.len() {
                1 => String::new(),
                n => format!(", {n} files"),
            };
            let left_out = match table.bad_row_count {
                0 => String::new(),
                n => format!("; {} left out", counted(n, "malformed row")),
            };
            println!(
                "table {}: {}, {} ({}{several}){left_out}",
                table.name,
                counted(table.rows, "row"),
                counted(table.columns.len() as u64, "column"),
                place.path
            );
            for line in text::forced(forced) {
                println!("{line}");
            }
            tables.push(SourceTable {
                name: table.name.clone(),
                rows: table.rows,
                sha256: self.add_inputs(&place, digests),
                stored: None,
                path: place.path,
            });
        }
        Ok(tables)
    }

    /// The digest of a table's files. Those of the workspace are inputs from here on; what was fetched is only
    /// known by its digest.
    fn add_inputs(&mut self, place: &ReadFrom, digests: Vec<Digest>) -> Digest {
        let files = place.files.iter().zip(&digests);
        let lines: String = files
            .clone()
            .map(|((name, _), digest)| format!("{digest}  {name}\n"))
            .collect();
        for ((name, _), digest) in files.filter(|((name, _), _)| !name.starts_with("gs://")) {
            self.inputs.push(InputFile {
                path: name.clone(),
                sha256: digest.clone(),
            });
        }
        match <[Digest; 1]>::try_from(digests) {
            Ok([only]) => only,
            Err(_) => Digest::of(lines.as_bytes()),
        }
    }

    /// Judges the joined table by its profile, and writes `profile.json`, `drift.json` where there is a baseline
    /// and, unless a check rejects, `dataset.json`.
    async fn judge(
        &mut self,
        joined: Joined,
        read: &[Totals],
        tables: Vec<SourceTable>,
        findings: &mut Findings,
    ) -> Result<()> {
        let ctx = self.ctx;
        let data = &ctx.config.data;
        let label = &data.label.column;
        let (train_rows, test_rows) = (joined.train.rows, joined.test.rows);
        if let Some(join) = &data.join {
            let how = match join.how {
                JoinKind::Inner => "inner",
                JoinKind::Left => "left",
                JoinKind::Outer => "outer",
            };
            let on = names(&join.on);
            let rows = counted(train_rows + test_rows, "row");
            let columns = counted(joined.columns.len() as u64, "column");
            println!("{how} join on {on}: {rows}, {columns}");
        }
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
        println!(
            "split: {} to train, {test_rows} to test ({rule})",
            counted(train_rows, "row")
        );
        let dropped: Vec<String> = data.drop.iter().map(|name| name.value.clone()).collect();
        let (mut drift, mut history) = (None, Vec::new());
        let mut digest = None;
        // What is rejected already is not held against anything.
        if let Some(snapshot) = &joined.snapshot {
            let found = snapshot::digest(&snapshot.train, &snapshot.test);
            let path = match snapshot.train.is_in_cloud() {
                true => snapshot
                    .train
                    .path
                    .rsplit_once('/')
                    .map_or("", |(path, _)| path),
                false => ".serin/data",
            };
            println!("snapshot: {path}, digest {}", found.short());
            self.frozen = !snapshot.train.is_in_cloud();
            drift = self.drift(&joined, &dropped).await?;
            history = self.history(&found).await?;
            digest = Some(found);
        }
        judge::check(
            &joined,
            read,
            &ctx.config,
            drift.as_ref(),
            &history,
            Timestamp::real_now(),
            findings,
        );
        self.write(&judge::record(&joined, read))?;
        if let Some(drift) = &drift {
            self.write(drift)?;
        }
        let (Some(snapshot), Some(digest), false) = (joined.snapshot, digest, findings.reject())
        else {
            return Ok(());
        };
        let features = joined
            .columns
            .iter()
            .filter(|column| column.name != **label && !dropped.contains(&column.name));
        let label = joined.target.record(label);
        gate::fit_task(&self.ctx.config.validate, &label)?;
        self.say_rows_needed(snapshot.test.rows);
        let dataset = Dataset {
            reason: Reason::from_env(),
            watched: self.watched.take(),
            label,
            seed,
            tables,
            features: features
                .map(|column| Feature {
                    name: column.name.clone(),
                    kind: column.feature_type(),
                })
                .collect(),
            dropped,
            digest,
            train: snapshot.train,
            test: snapshot.test,
        };
        self.write(&dataset)
    }

    /// Says which gates these test rows will hardly decide.
    fn say_rows_needed(&self, rows: u64) {
        for gate in &self.ctx.config.validate.require {
            let GateRule::NoWorse { by, .. } = gate.rule else {
                continue;
            };
            let needed = gate::rows_for_equal(gate.metric.name, by);
            if let Some(needed) = needed.filter(|needed| *needed > rows) {
                println!(
                    "the gate {} {} needs about {needed} test rows to let an equal model pass; there are {rows}",
                    gate.metric.name, gate.rule
                );
            }
        }
    }

    /// Compares the snapshot with the baseline, where `lint.drift` asks for it and there is one.
    async fn drift(&mut self, joined: &Joined, dropped: &[String]) -> Result<Option<DriftReport>> {
        let Some(settings) = &self.ctx.config.lint.drift else {
            return Ok(None);
        };
        let Some(baseline) = self.baseline(settings).await? else {
            return Ok(None);
        };
        let current = if baseline.trained_on {
            &joined.train
        } else {
            &joined.whole.profile
        };
        let keys = self.ctx.config.data.join.iter().flat_map(|join| &join.on);
        let unseen = keys.map(|key| key.value.as_str());
        let unseen: Vec<&str> = unseen.chain(dropped.iter().map(String::as_str)).collect();
        let (name, profile) = (&baseline.name, baseline.profile);
        let mut report = drift::compare(&profile, current, settings, &unseen, name);
        println!(
            "drift: {} columns held against {name}, {} rows against {}",
            report.columns.len(),
            report.rows,
            report.baseline_rows
        );
        report.baseline = Some(profile.without_sketches());
        report.version = baseline.version;
        measured::record_drift(self.ctx, &report).await?;
        Ok(Some(report))
    }

    /// Writes `lint.json` and tells the verdict, the worst findings first.
    fn conclude(self, findings: Findings) -> Result<Outcome> {
        let report = findings.clone().report();
        let groups = findings.groups();
        for line in text::findings(&groups, self.frozen) {
            println!("{line}");
        }
        self.write(&report)?;
        println!("{}", text::verdict(report.verdict, &groups));
        Ok(match report.verdict {
            Verdict::Reject => Outcome::Rejected,
            Verdict::Pass | Verdict::Inconclusive => Outcome::Done,
        })
    }

    fn write<T: Record>(&self, record: &T) -> Result<()> {
        self.ctx
            .workspace
            .write_made_of(record, self.inputs.clone())
    }
}

/// The place of a table's files.
fn local_place(table: &crate::config::Table) -> Result<&Spot<String>> {
    let name = &table.name;
    table.local.as_ref().ok_or_else(|| {
        let error = Input::new(format!("table `{name}` has no `local` place"));
        let hint = match &table.bigquery {
            Some(_) => "take `--source=bigquery`, in a build `-s _SOURCE=bigquery`".to_owned(),
            None => format!("add one, as in `{name}: {{local: data/{name}.csv}}`"),
        };
        error.hint(hint).at(table.place.clone()).into()
    })
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
