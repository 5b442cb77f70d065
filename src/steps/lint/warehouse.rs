//! The data where BigQuery has it: checked, joined, divided, profiled and exported there, so that no row passes
//! through the build.
//!
//! The tables are read as they were at one moment. What cannot be read so, a view or a query, is read once into a
//! table of `data.staging`; so is the join, with a column that says which rows are for the test. All that follows
//! reads that table, which expires after a day.

mod sources;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures_util::future::{try_join, try_join_all, try_join3};
use serde::{Deserialize, Serialize};

use super::{Lint, beside, relative};
use crate::config::JoinKind;
use crate::data::checks::{self, DatasetScope};
use crate::data::counted;
use crate::data::findings::Findings;
use crate::data::freeze::{self, Frozen, Joined, Snapshot};
use crate::data::join::Fault;
use crate::data::label::{Label, Labels, Target};
use crate::data::schema::Schema;
use crate::data::table::Totals;
use crate::data::warehouse::checks as checked;
use crate::data::warehouse::column::TypedColumn;
use crate::data::warehouse::join::{JoinedRelation, TypedRelation};
use crate::data::warehouse::{self, Query, Relation, identifier, literal, profile, split};
use crate::error::Input;
use crate::gcp::bigquery::{self, DatasetName, TableName};
use crate::gcp::{self, GsUri};
use crate::steps::bigquery::tables::time;
use crate::steps::bigquery::{Session, Settings, client};
use crate::steps::snapshot_files;
use crate::workspace::records::{SourceTable, SplitFile};
use crate::workspace::table_profile::ValueType;
use crate::workspace::{Digest, FOLDER, Record, Workspace};

/// The column of the joined table that says whether a row is for the test.
const IS_TEST: &str = "serin_is_test";

/// Which moment a run reads the tables of; written before the first query that depends on it, so that a run that is
/// started again finds its jobs, and removed when they ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pinned {
    /// In microseconds since 1970, by BigQuery's clock.
    micros: i64,
    /// Of `serin.yaml`, the schema and the query.
    asked: Digest,
}

impl Record for Pinned {
    const FILE: &'static str = "bigquery.json";
    const SCHEMA: &'static str = "serin/bigquery/v1";
    const STEP: &'static str = "lint";
}

/// How long the tables of a run stand in the staging dataset.
const KEPT_HOURS: i64 = 24;
/// A moment that is older than this is not read again: the run needs its tables to the end. Time travel ends after two
/// days at the least.
const LONGEST_PINNED_HOURS: i64 = 18;
const HOUR: i64 = 3_600_000_000;

/// What the query's rows are called in the schema and in records.
pub(super) const QUERY: &str = "query";

/// A table or query of `serin.yaml`.
struct Source {
    name: String,
    /// As messages and records show it.
    path: String,
    table: TypedRelation,
    /// What tells its state apart from others.
    digest: Digest,
    /// The rows of the table without a filter; none for what has no number of its own.
    stored: Option<u64>,
}

impl Source {
    fn checked(&self) -> checked::Source<'_> {
        checked::Source {
            name: &self.name,
            path: &self.path,
            relation: &self.table.relation,
            kinds: &self.table.kinds,
        }
    }
}

/// What a run of the queries needs.
struct Warehouse<'a> {
    lint: &'a Lint<'a>,
    session: Session,
    schema: Option<&'a Schema>,
    staging: DatasetName,
    pinned: Pinned,
}

/// Reads, checks and freezes the data; the tables as `dataset.json` names them.
///
/// # Errors
/// [`Input`] where a table or `data.staging` is missing, cannot be read from here, or holds what serin cannot count;
/// `gcp::Error` when BigQuery fails.
pub(super) async fn freeze(
    lint: &mut Lint<'_>,
    schema: Option<&Schema>,
) -> Result<(Frozen, Vec<SourceTable>)> {
    let ctx = lint.ctx;
    let config = &ctx.config;
    if let Some(query) = &config.data.query {
        let query = relative(&ctx.workspace, &beside(&config.path, query))?;
        lint.inputs.push(ctx.workspace.input(&query)?);
    }
    let mut warehouse = Warehouse::open(lint, schema).await?;
    let bigquery = warehouse.session.bigquery.clone();
    let mut ended = bigquery.or_cancel(warehouse.freeze()).await;
    if ended.as_ref().is_err_and(|e| warehouse.misses_its_own(e)) {
        println!(
            "a table that this run had in {} is gone, so the tables are read anew",
            warehouse.staging
        );
        warehouse.pinned.micros = warehouse.session.now().await?;
        ctx.workspace.write(&warehouse.pinned, &[])?;
        ended = bigquery.or_cancel(warehouse.freeze()).await;
    }
    let (frozen, tables) = ended?;
    println!("{}", warehouse.session.summary());
    for (table, totals) in tables.iter().zip(&frozen.tables) {
        println!(
            "table {}: {}, {} ({} as of {})",
            table.name,
            counted(table.rows, "row"),
            counted(totals.columns.len() as u64, "column"),
            table.path,
            time(warehouse.pinned.micros)
        );
    }
    Ok((frozen, tables))
}

/// Forgets which moment was read: the next run reads the tables as they are then.
pub(super) fn forget_moment(workspace: &Workspace) -> Result<()> {
    workspace.remove::<Pinned>()
}

impl<'a> Warehouse<'a> {
    async fn open(lint: &'a Lint<'a>, schema: Option<&'a Schema>) -> Result<Self> {
        let ctx = lint.ctx;
        let data = &ctx.config.data;
        let staging = data.staging.as_ref().ok_or_else(|| {
            Input::new("BigQuery needs a dataset in which the joined rows stand for a day")
                .at_file(&ctx.config.path)
                .hint("name one that the build may write, as in `data: {staging: my-project.staging}`")
        })?;
        let staging: DatasetName = staging
            .parse()
            .map_err(|e: Input| e.at(staging.place.clone()))?;
        let bigquery = client(&ctx.project)?;
        let found = bigquery.datasets_get(&staging).await?;
        let location = found.ok_or_else(|| {
            Input::new(format!("there is no dataset `{staging}`, or this account may not see it"))
                .at_file(&ctx.config.path)
                .hint(format!("make it where the tables are: `bq mk --dataset --location=US {}:{}`; the account needs `roles/bigquery.dataEditor` on it", staging.project, staging.dataset))
        })?;
        let build = std::env::var("BUILD_ID").ok();
        let session = Session::new(Settings {
            bigquery,
            location,
            labels: bigquery::labels(&ctx.config.model, build.as_deref()),
            most: data.max_bytes_billed,
            setting: "data.max_bytes_billed",
            file: Some(ctx.workspace.path(FOLDER).join("queries.sql")),
        });
        let now = session.now().await?;
        let asked = lint.inputs.iter().map(|input| input.sha256.as_str());
        let asked = Digest::of(asked.collect::<Vec<_>>().join("\n").as_bytes());
        let oldest = now - LONGEST_PINNED_HOURS * HOUR;
        let before = ctx.workspace.peek::<Pinned>();
        let pinned = match before.filter(|p| p.asked == asked && p.micros > oldest) {
            Some(before) => {
                println!("going on with the tables as of {}", time(before.micros));
                before
            }
            None => Pinned { micros: now, asked },
        };
        ctx.workspace.write(&pinned, &[])?;
        Ok(Self {
            lint,
            session,
            schema,
            staging,
            pinned,
        })
    }

    async fn freeze(&self) -> Result<(Frozen, Vec<SourceTable>)> {
        let ctx = self.lint.ctx;
        let data = &ctx.config.data;
        let sources = self.sources().await?;
        let checked = try_join(self.check_tables(&sources), self.faults(&sources)).await?;
        let ((tables, mut findings), faults) = checked;
        let on = data.join.iter().flat_map(|join| &join.on);
        let on: Vec<String> = on.map(|key| key.value.clone()).collect();
        let how = data.join.as_ref().map_or(JoinKind::Inner, |join| join.how);
        let typed: Vec<TypedRelation> = sources.iter().map(|s| s.table.clone()).collect();
        checks::tables(&ctx.config, self.schema, &tables, &faults, &mut findings);
        let stops = |fault: &Fault| !matches!(fault, Fault::Unmatched { .. });
        let joined = match faults.iter().any(stops) {
            true => None,
            false => {
                let joined = warehouse::join::join(&typed, &on, how);
                self.joined(&joined, &tables, &mut findings).await?
            }
        };
        let records = sources.into_iter().zip(&tables);
        let records = records.map(|(source, totals)| SourceTable {
            name: source.name,
            path: source.path,
            rows: totals.rows,
            sha256: source.digest,
            stored: source.stored,
        });
        let records = records.collect();
        let frozen = Frozen {
            forced: vec![Vec::new(); tables.len()],
            tables,
            findings,
            joined,
        };
        Ok((frozen, records))
    }
}

impl Warehouse<'_> {
    /// How the names begin of the tables that the run makes.
    fn own_tables(&self) -> String {
        let key = format!("{}\n{}", self.pinned.asked, self.pinned.micros);
        format!("serin_{}_", Digest::of(key.as_bytes()).short())
    }

    /// Whether an error says that such a table is not there: somebody deleted it, or it expired.
    fn misses_its_own(&self, error: &anyhow::Error) -> bool {
        let cloud = error.downcast_ref::<gcp::Error>();
        cloud.is_some_and(|e| {
            let told = e.input.as_ref().map_or(&e.message, |input| &input.message);
            e.reason.as_deref() == Some("notFound") && told.contains(&self.own_tables())
        })
    }

    /// Makes a table of a query's rows, which expires a day after the moment of the run; its name in SQL.
    async fn store(&self, name: &str, select: &str) -> Result<String> {
        let table = TableName {
            project: self.staging.project.clone(),
            dataset: self.staging.dataset.clone(),
            table: format!("{}{name}", self.own_tables()),
        };
        let table = table.sql();
        let until = time(self.pinned.micros + KEPT_HOURS * HOUR);
        let sql = format!(
            "CREATE OR REPLACE TABLE {table}\nOPTIONS (expiration_timestamp = TIMESTAMP {})\nAS\n{select}",
            literal(&until)
        );
        self.session
            .run(&Query {
                purpose: format!("the rows of {name}"),
                sql,
            })
            .await?;
        Ok(table)
    }

    async fn check_tables(&self, sources: &[Source]) -> Result<(Vec<Totals>, Findings)> {
        let config = &self.lint.ctx.config;
        let ask = async |queries| self.session.ask(queries).await;
        let all: Vec<checked::Source> = sources.iter().map(Source::checked).collect();
        let checked = all.iter();
        let checked = checked.map(|source| checked::table(config, self.schema, source, &all, &ask));
        let mut findings = Findings::default();
        let mut tables = Vec::new();
        for (totals, found) in try_join_all(checked).await? {
            findings.merge(found);
            tables.push(totals);
        }
        Ok((tables, findings))
    }

    /// What stands against the join.
    async fn faults(&self, sources: &[Source]) -> Result<Vec<Fault>> {
        let ask = async |queries| self.session.ask(queries).await;
        let all: Vec<checked::Source> = sources.iter().map(Source::checked).collect();
        checked::join::join(&self.lint.ctx.config, &all, &ask).await
    }

    /// The joined rows with their figures and, where nothing rejects them, their files; none without a label.
    async fn joined(
        &self,
        joined: &JoinedRelation,
        tables: &[Totals],
        findings: &mut Findings,
    ) -> Result<Option<Joined>> {
        let config = &self.lint.ctx.config;
        let data = &config.data;
        let taken = joined
            .columns()
            .any(|c| c.column.name.eq_ignore_ascii_case(IS_TEST));
        if taken {
            let message = format!("a column is called `{IS_TEST}`, as serin calls one of its own");
            return Err(Input::new(message).hint("rename it in `data.query`").into());
        }
        let column = |name: &str| joined.columns().find(|c| c.column.name == name);
        let is_test = split::is_test(&data.split, column)?;
        let table = self
            .store("joined", &joined.query(&is_test, IS_TEST))
            .await?;
        let rows = joined.stored(&table);
        let label = freeze::label(config, self.schema, &joined.frame);
        let ask = async |queries| self.session.ask(queries).await;
        let checked = checked::joined::JoinedRows {
            relation: &rows.relation,
            columns: &joined.frame,
            kinds: joined.kinds(),
            tables,
            has_row: &joined.has_row(),
        };
        let labels = async {
            match &label {
                Some(label) => self.labels(&rows, label).await,
                None => Ok(Labels::default()),
            }
        };
        let (found, counts, labels) = try_join3(
            checked::joined::joined(config, &checked, &ask),
            self.rows(&rows.relation),
            labels,
        )
        .await?;
        findings.merge(found);
        let target = label.as_ref().map(|label| Target::new(&labels, label));
        let scope = DatasetScope {
            config,
            tables,
            columns: &joined.frame,
            target: target.as_ref(),
            rule: freeze::label_rule(config, self.schema),
            rows: counts,
        };
        checks::dataset(&scope, findings);
        let (Some(label), Some(target)) = (label, target) else {
            return Ok(None);
        };
        let is_number = labels.are_numbers(&label);
        let columns = typed(&rows, &label, is_number);
        let dropped = |name: &str| data.drop.iter().any(|dropped| dropped.value == name);
        let features = columns.iter().enumerate();
        let features = features.filter(|(n, c)| *n != label.column && !dropped(&c.column.name));
        let wanted = profile::Wanted {
            relation: &rows.relation,
            columns: columns.clone(),
            is_test: Some(IS_TEST),
            label: Some(label.column),
            features: &features.map(|(n, _)| n).collect::<Vec<_>>(),
        };
        let profiled = profile::profile(&wanted, &ask).await?;
        let parts = profiled
            .parts
            .context("no parts of the rows were profiled")?;
        let snapshot = match findings.reject() {
            true => None,
            false => Some(self.export(&table, &columns, counts).await?),
        };
        Ok(Some(Joined {
            columns: Arc::clone(&joined.frame),
            target,
            train: parts.train,
            test: parts.test,
            whole: profiled.whole,
            overlap: parts.overlap,
            snapshot,
        }))
    }

    /// The rows of the training and of the test part.
    async fn rows(&self, relation: &Relation) -> Result<[u64; 2]> {
        let query = Query {
            purpose: "the rows of both parts".to_owned(),
            sql: format!(
                "SELECT COUNTIF(NOT {IS_TEST}), COUNTIF({IS_TEST}) {}",
                relation.clause()
            ),
        };
        let answers = self.session.ask(vec![query]).await?;
        let row = answers.first().and_then(|rows| rows.first());
        let count = |n: usize| row?.get(n)?.as_deref()?.parse().ok();
        let both = count(0)
            .zip(count(1))
            .context("the rows were counted, and not told")?;
        Ok(both.into())
    }

    /// The label's values in both parts.
    async fn labels(&self, rows: &TypedRelation, label: &Label<'_>) -> Result<Labels> {
        let column = rows
            .columns()
            .nth(label.column)
            .context("the label is not there")?;
        let query = checked::joined::labels_query(&rows.relation, column, IS_TEST);
        let answers = self.session.ask(vec![query]).await?;
        checked::joined::labels(answers.first().context("no answer of labels")?)
    }

    /// Writes both parts to the bucket, each as so many Parquet files as BigQuery likes.
    async fn export(
        &self,
        table: &str,
        columns: &[TypedColumn<'_>],
        [train, test]: [u64; 2],
    ) -> Result<Snapshot> {
        let ctx = self.lint.ctx;
        ctx.find_or_create_bucket().await?;
        let key = Digest::of(table.as_bytes());
        let folder = format!("snapshots/exports/{}", key.short());
        let columns = columns.iter();
        let columns: Vec<String> = columns
            .map(|column| format!("{} AS {}", column.kept(), identifier(&column.column.name)))
            .collect();
        let columns = columns.join(",\n  ");
        let query = |part: &str, condition: &str| {
            let uri = ctx.gs(&format!("{folder}/{part}-*.parquet"));
            Query {
                purpose: format!("the {part} part, exported"),
                sql: format!(
                    "EXPORT DATA OPTIONS (uri = {}, format = 'PARQUET', compression = 'SNAPPY', overwrite = TRUE) AS\n\
                     SELECT\n  {columns}\nFROM {table} WHERE {condition}",
                    literal(&uri)
                ),
            }
        };
        let (of_train, of_test) = (format!("NOT {IS_TEST}"), IS_TEST);
        let (train_query, test_query) = (query("train", &of_train), query("test", of_test));
        try_join(
            self.session.run(&train_query),
            self.session.run(&test_query),
        )
        .await?;
        let part = async |part: &str, rows: u64| -> Result<SplitFile> {
            let pattern = GsUri {
                bucket: ctx.config.bucket.to_string(),
                name: format!("{folder}/{part}-*.parquet"),
            };
            let before = format!("{folder}/{part}-");
            let listed = ctx.storage().objects_list(&pattern.bucket, &before).await;
            snapshot_files::part(&pattern, rows, &listed.map_err(|e| ctx.of_bucket(e))?)
        };
        Ok(Snapshot {
            train: part("train", train).await?,
            test: part("test", test).await?,
        })
    }
}

/// The columns of the joined rows; a label of classes is one of texts.
fn typed<'t>(rows: &'t TypedRelation, label: &Label, is_number: bool) -> Vec<TypedColumn<'t>> {
    let columns = rows.columns().enumerate();
    let column = |(n, mut column): (usize, TypedColumn<'t>)| {
        if n == label.column {
            column.kind.values = Some(match is_number {
                true => ValueType::Number,
                false => ValueType::Text,
            });
        }
        column
    };
    columns.map(column).collect()
}
