//! The rows that are sent: of the champion's test part, of the endpoint's log, or of a table.

use std::convert::Infallible;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use serde_json::{Map, Number, Value};

use crate::data::batch::Values;
use crate::data::counted;
use crate::data::instances::some_instances;
use crate::data::read::{self, Dialect};
use crate::error::Input;
use crate::gcp::vertex::Endpoint;
use crate::steps::monitor::logged_instances;
use crate::steps::tables::Tables;
use crate::steps::{Context, champion, champion_data};
use crate::workspace::records::{Dataset, Feature, FeatureType};

/// So many rows are kept in memory at most.
const MOST_ROWS: usize = 100_000;

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Test,
    Log,
    Table(String),
}

impl FromStr for From {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "test" => Self::Test,
            "log" => Self::Log,
            place => Self::Table(place.to_owned()),
        })
    }
}

/// Rows as instances.
pub(super) struct Rows {
    pub instances: Vec<Value>,
    /// Where they come from, in words.
    of: String,
}

impl Rows {
    pub(super) fn told(&self) -> String {
        let rows = counted(self.instances.len() as u64, "row");
        format!("{rows} of {}", self.of)
    }
}

/// Reads them.
///
/// # Errors
/// [`Input`] where there are none, `gcp::Error` when the cloud fails.
pub(super) async fn find(ctx: &Context, endpoint: &Endpoint, from: &From) -> Result<Rows> {
    let rows = match from {
        From::Test => of_test(ctx).await?,
        From::Log => Rows {
            instances: logged_instances(ctx, endpoint, MOST_ROWS).await?,
            of: "the endpoint's log".to_owned(),
        },
        From::Table(place) => of_table(ctx, place).await?,
    };
    match rows.instances.is_empty() {
        true => Err(Input::new(format!("there is no row to send: {} has none", rows.of)).into()),
        false => Ok(rows),
    }
}

/// The columns by which labels find predictions: they are sent along, though no model sees them.
fn key(ctx: &Context) -> Vec<String> {
    let triggers = ctx.config.triggers.as_ref();
    let labels = triggers.and_then(|triggers| Some(&triggers.performance.as_ref()?.labels));
    let key = labels.map_or(&[][..], |labels| &labels.key);
    key.iter().map(|name| name.value.clone()).collect()
}

/// The record of what the champion was trained on, where it tells that.
async fn dataset(ctx: &Context) -> Result<Option<(champion::Serving, Dataset)>> {
    let Some(serving) = champion::find(ctx).await? else {
        return Ok(None);
    };
    let Some(snapshot) = serving.snapshot.clone() else {
        return Ok(None);
    };
    let record = champion_data::record::<Dataset>(ctx, &snapshot).await?;
    Ok(record.map(|dataset| (serving, dataset)))
}

async fn of_test(ctx: &Context) -> Result<Rows> {
    let none = |why: &str| {
        Input::new(format!("there are no test rows to send: {why}")).hint(
            "`--from FILE` sends the rows of a table, `--from log` those of the endpoint's log",
        )
    };
    let Some((serving, dataset)) = dataset(ctx).await? else {
        return Err(none("no champion serves that tells what it was tested on").into());
    };
    let scratch = tempfile::tempdir().context("making a temporary folder")?;
    let snapshot = serving
        .snapshot
        .as_ref()
        .ok_or_else(|| none("it tells none"))?;
    let files = champion_data::test_files(ctx, snapshot, &dataset.test, &scratch).await?;
    let Some(files) = files else {
        return Err(none("the champion's snapshot is gone from the bucket").into());
    };
    let rows = usize::try_from(dataset.test.rows).unwrap_or(usize::MAX);
    let step = rows.div_ceil(MOST_ROWS).max(1);
    let mut features = dataset.features.clone();
    for name in key(ctx) {
        if dataset.dropped.contains(&name) {
            features.push(Feature {
                name,
                kind: FeatureType::Category,
            });
        }
    }
    let with_key = some_instances(&files, &features, step, MOST_ROWS);
    let instances = match with_key {
        Ok(instances) => instances,
        // An export may leave dropped columns out.
        Err(_) => some_instances(&files, &dataset.features, step, MOST_ROWS)?,
    };
    Ok(Rows {
        instances,
        of: format!("version {}'s test part", serving.champion.version),
    })
}

async fn of_table(ctx: &Context, place: &str) -> Result<Rows> {
    let known = dataset(ctx).await?.map(|(_, dataset)| dataset);
    let features = known.as_ref().map_or(&[][..], |dataset| &dataset.features);
    let key = key(ctx);
    let mut tables = Tables::default();
    let files = tables.find_in(Path::new(""), place).await?;
    let table = read::Table::open(files, &Dialect::default())?;
    let columns: Vec<(usize, &str, Option<FeatureType>)> = table
        .columns()
        .iter()
        .enumerate()
        .filter_map(|(at, name)| {
            let feature = features.iter().find(|feature| feature.name == *name);
            let wanted = feature.is_some() || features.is_empty() || key.contains(name);
            let kind = match feature {
                Some(feature) => Some(feature.kind),
                None if key.contains(name) => Some(FeatureType::Category),
                None => None,
            };
            wanted.then_some((at, name.as_str(), kind))
        })
        .collect();
    if let Some(lacks) = features.iter().find(|f| !table.columns().contains(&f.name)) {
        return Err(Input::new(format!(
            "the rows have no column `{}`, which the champion was trained on",
            lacks.name
        ))
        .at_file(Path::new(place))
        .into());
    }
    let mut instances = Vec::new();
    let mut blocks = table.blocks()?;
    'all: while let Some(block) = blocks.next()? {
        let batch = block.parse()?;
        for row in 0..batch.rows {
            if instances.len() == MOST_ROWS {
                break 'all;
            }
            let cells = columns.iter().filter_map(|(at, name, kind)| {
                let value = cell(batch.columns.get(*at)?, row, *kind)?;
                Some(((*name).to_owned(), value))
            });
            instances.push(Value::Object(cells.collect::<Map<_, _>>()));
        }
    }
    Ok(Rows {
        instances,
        of: place.to_owned(),
    })
}

/// A cell as the endpoint takes it; `None` where it is missing. Where nothing tells the type, what reads as a number or
/// a boolean is one.
fn cell(values: &Values, row: usize, kind: Option<FeatureType>) -> Option<Value> {
    let text = values.text(row, false)?;
    let plain = text.trim();
    if matches!(
        plain,
        "" | "NA" | "N/A" | "null" | "NULL" | "None" | "NaN" | "nan"
    ) {
        return None;
    }
    let number = || Some(Value::Number(Number::from_f64(plain.parse().ok()?)?));
    let boolean = || match plain {
        "true" | "True" | "TRUE" | "yes" => Some(Value::Bool(true)),
        "false" | "False" | "FALSE" | "no" => Some(Value::Bool(false)),
        _ => None,
    };
    match kind {
        Some(FeatureType::Number) => number(),
        Some(FeatureType::Boolean) => boolean(),
        Some(FeatureType::Category | FeatureType::Time) => Some(text.into()),
        None => number().or_else(boolean).or(Some(text.into())),
    }
}
