//! What a deployed model runs on, and what its endpoint logs: the fields of `deploy` that Vertex AI is told as they are.
//!
//! What Vertex AI would refuse after minutes is refused here where it follows from the fields alone; which machines a
//! region has is Vertex AI's to know.

use anyhow::Result;

use super::Spot;
use super::forms::{machine, share};
use crate::settings::{Cursor, Fields};

/// The machine where none is named.
pub(super) const MACHINE: &str = "n1-standard-2";
/// More replicas than any quota gives.
const MOST_REPLICAS: u64 = 1000;
/// What stands beside a pool instead of in it.
const OF_POOL: &str = "is the pool's own: leave it out beside `resource_pool`";

/// What a deployed model runs on.
#[derive(Clone, Debug, PartialEq)]
pub enum Resources {
    /// Machines of its own.
    Dedicated(Machines),
    /// The id of a `DeploymentResourcePool` of the build's region, whose machines it shares with others.
    Pool(String),
}

/// Machines of a model's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Machines {
    pub machine: String,
    pub accelerator: Option<Accelerator>,
    /// At least 1.
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// The use of the processors from which replicas are added, in percent; Vertex AI takes 60 where nothing is said.
    pub cpu_target: Option<u32>,
    /// The same of the accelerators' duty cycle.
    pub accelerator_target: Option<u32>,
}

/// Accelerators of each machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// Vertex AI's name, as in `NVIDIA_TESLA_T4`.
    pub kind: String,
    pub count: u32,
}

/// Which requests and answers are written to BigQuery.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRequests {
    /// `bq://PROJECT.DATASET.TABLE`; dataset or dataset and table may be Vertex AI's to make.
    pub table: Spot<String>,
    /// The share of the requests, above 0 and at most 1.
    pub sample: f64,
}

impl std::fmt::Display for Resources {
    /// As in `n1-standard-4 with 1 NVIDIA_TESLA_T4, 1 to 3 replicas, more from 60% of the processors on`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Machines {
            machine,
            accelerator,
            min_replicas,
            max_replicas,
            cpu_target,
            accelerator_target,
        } = match self {
            Self::Pool(pool) => return write!(f, "the resource pool {pool}"),
            Self::Dedicated(machines) => machines,
        };
        write!(f, "{machine}")?;
        if let Some(Accelerator { kind, count }) = accelerator {
            write!(f, " with {count} {kind}")?;
        }
        if *max_replicas > 1 {
            match min_replicas == max_replicas {
                true => write!(f, ", {min_replicas} replicas")?,
                false => write!(f, ", {min_replicas} to {max_replicas} replicas")?,
            }
        }
        if let Some(target) = cpu_target {
            write!(f, ", more from {target}% of the processors on")?;
        }
        if let Some(target) = accelerator_target {
            write!(f, ", more from {target}% of the accelerators on")?;
        }
        Ok(())
    }
}

/// What a model is deployed on.
///
/// # Errors
/// [`crate::error::Input`] with the place, also for what Vertex AI refuses together.
pub(super) fn resources(deploy: &Fields) -> Result<Resources> {
    if let Some(pool) = deploy.get("resource_pool") {
        for name in ["machine", "replicas", "autoscale", "accelerator"] {
            deploy.refuse(name, OF_POOL)?;
        }
        let what =
            "a pool's id: at most 63 of `a-z`, `0-9`, `-`, the first a letter, the last no `-`";
        return Ok(Resources::Pool(pool.text_where(what, is_pool_id)?.value));
    }
    let named = machine(deploy, MACHINE)?;
    let accelerator = accelerator(deploy, &named)?;
    let (min_replicas, max_replicas) = replicas(deploy)?;
    let (mut cpu_target, mut accelerator_target) = (None, None);
    if let Some(field) = deploy.get("autoscale") {
        let fields = field.clone().fields("deploy.autoscale")?;
        let target = |name: &str| -> Result<Option<u32>> {
            let field = fields.get(name);
            field.map(|field| field.integer(1, 100)).transpose()
        };
        (cpu_target, accelerator_target) = (target("cpu")?, target("accelerator")?);
        if cpu_target.is_none() && accelerator_target.is_none() {
            return Err(field
                .expected("`cpu` or `accelerator` with a percentage")
                .into());
        }
        if min_replicas == max_replicas {
            let message = format!(
                "there is nothing to scale between {min_replicas} and {max_replicas} replicas: set `deploy.replicas.max`"
            );
            return Err(field.error(message).into());
        }
        if accelerator_target.is_some() && accelerator.is_none() {
            fields.refuse("accelerator", "needs `deploy.accelerator`")?;
        }
    }
    Ok(Resources::Dedicated(Machines {
        machine: named,
        accelerator,
        min_replicas,
        max_replicas,
        cpu_target,
        accelerator_target,
    }))
}

fn replicas(deploy: &Fields) -> Result<(u32, u32)> {
    let Some(field) = deploy.get("replicas") else {
        return Ok((1, 1));
    };
    let fields = field.fields("deploy.replicas")?;
    let number = |name: &str| -> Result<Option<u32>> {
        let field = fields.get(name);
        field
            .map(|field| field.integer(1, MOST_REPLICAS))
            .transpose()
    };
    let min = number("min")?.unwrap_or(1);
    let max = number("max")?.unwrap_or(min);
    match fields.get("max").filter(|_| max < min) {
        Some(field) => Err(field
            .error(format!("expected no less than `min`, which is {min}"))
            .into()),
        None => Ok((min, max)),
    }
}

/// Families of machines that come with accelerators, of one type and number each.
const WITH_ACCELERATORS: [&str; 6] = ["a2", "a3", "a4", "a4x", "g2", "g4"];

fn accelerator(deploy: &Fields, machine: &str) -> Result<Option<Accelerator>> {
    let family = machine.split('-').next().unwrap_or_default();
    let has_its_own = WITH_ACCELERATORS.contains(&family);
    let Some(field) = deploy.get("accelerator") else {
        return match deploy.key("machine").filter(|_| has_its_own) {
            Some(_) => {
                let message = format!(
                    "machines of the family {family} come with accelerators, which Vertex AI wants named: set `deploy.accelerator`"
                );
                Err(deploy.error_at("machine", message).into())
            }
            None => Ok(None),
        };
    };
    if family != "n1" && !has_its_own {
        let message = format!(
            "Vertex AI attaches accelerators to machines of the family n1, and {} come with theirs; `{machine}` is neither",
            WITH_ACCELERATORS.join(", ")
        );
        return Err(field.error(message).into());
    }
    let fields = field.fields("deploy.accelerator")?;
    let what = "a type of Vertex AI's, as in `NVIDIA_TESLA_T4`";
    let kind = fields.need("type")?.text_where(what, is_accelerator)?.value;
    let count = match fields.get("count") {
        Some(field) => number_of_accelerators(&field)?,
        None => 1,
    };
    Ok(Some(Accelerator { kind, count }))
}

/// Machines take accelerators by powers of two only.
fn number_of_accelerators(field: &Cursor) -> Result<u32> {
    let count: u32 = field.integer(1, 16)?;
    match count.is_power_of_two() {
        true => Ok(count),
        false => Err(field
            .error(format!("expected 1, 2, 4, 8 or 16, found {count}"))
            .into()),
    }
}

fn is_accelerator(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(plain)
}

fn is_pool_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(plain)
}

/// Which requests are logged; `None` where the endpoint's own setting stays.
///
/// # Errors
/// [`crate::error::Input`] with the place.
pub(super) fn log_requests(deploy: &Fields) -> Result<Option<LogRequests>> {
    let Some(field) = deploy.get("log_requests") else {
        return Ok(None);
    };
    let fields = field.fields("deploy.log_requests")?;
    let what = "a table of BigQuery, as in `bq://project.dataset.table`; without table or dataset Vertex AI makes them";
    let table = fields.need("table")?.text_where(what, is_bigquery)?;
    let sample = match fields.get("sample") {
        Some(field) => field.value("a share above 0, at most 1, as in `0.1` or `10%`", |text| {
            share(text, 1.0).filter(|share| *share > 0.0)
        })?,
        None => 1.0,
    };
    Ok(Some(LogRequests { table, sample }))
}

fn is_bigquery(text: &str) -> bool {
    let Some(path) = text.strip_prefix("bq://") else {
        return false;
    };
    // A project's id may be of a domain, as in `example.com:project`.
    let rest = path.split_once(':').map_or(path, |(_, rest)| rest);
    let mut parts = rest.split('.');
    let project = parts.next().unwrap_or_default();
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_project = !project.is_empty()
        && project
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let rest: Vec<&str> = parts.collect();
    is_project && rest.len() <= 2 && rest.into_iter().all(word)
}
