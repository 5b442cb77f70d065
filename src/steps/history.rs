//! `serin history`: what served on an endpoint from when to when, and what answered at an instant.

#[cfg(test)]
mod tests;
mod timeline;

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::{Value, json};

use self::timeline::{By, Names, Served, Span};
use super::rollouts::{self, Deployment, Rollout, Split, split};
use super::{CommonFlags, Context, Format, Outcome};
use crate::clock::Timestamp;
use crate::error::Input;
use crate::report::history::{Row, table};
use crate::workspace::records::DeployVerdict;

/// Tell what served on the endpoint from when to when, and why it came and went
///
/// Reads the rollouts that gs://BUCKET/rollouts/REGION/ENDPOINT/ keeps and the endpoint as it is now; needs serin.yaml only,
/// and changes nothing. What somebody moved by hand is told as far as the next rollout found it. Times are UTC, in a
/// rehearsal on its clock.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub common: CommonFlags,
    /// Tell what answered at this instant instead, as in 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// A table for people, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Runs `serin history`.
///
/// # Errors
/// [`Input`] for a time that is none, `gcp::Error` when the cloud fails.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    let at = flags.at.as_deref().map(instant).transpose()?;
    super::run(flags.common, async |ctx| {
        let history = History::read(ctx).await?;
        match (at, flags.format) {
            (None, Format::Text) => history.print(),
            (None, Format::Json) => println!("{}", history.message()),
            (Some(at), format) => history.tell(at, ctx.clock.now(), format)?,
        }
        Ok(Outcome::Done)
    })
}

fn instant(text: &str) -> Result<Timestamp, Input> {
    text.parse().map_err(|_| {
        Input::new(format!("`{text}` is no instant"))
            .hint("write it with date, time and zone, as in 2026-01-31T09:30:00Z")
    })
}

/// What is known of an endpoint.
struct History {
    endpoint: String,
    /// By their numbers, oldest first.
    rollouts: Vec<Rollout>,
    spans: Vec<Span>,
    names: Names,
}

impl History {
    /// Reads the rollouts and the endpoint.
    ///
    /// # Errors
    /// [`Input`] for a rollout of a newer serin; when the cloud fails.
    async fn read(ctx: &Context) -> Result<Self> {
        let rollouts = all(ctx).await?;
        let endpoint = ctx.endpoint_name();
        let found = ctx.vertex().endpoints_get(&endpoint).await?;
        let mut names = timeline::names(&rollouts);
        let mut live = Split::new();
        if let Some(found) = &found {
            live = split(found);
            let deployed = found.deployed_models.iter().map(Deployment::of);
            names.extend(deployed.map(|deployed| (deployed.id.clone(), deployed)));
        }
        Ok(Self {
            spans: timeline::spans(&rollouts, &live, ctx.clock.now()),
            rollouts,
            endpoint,
            names,
        })
    }

    fn served(&self) -> Vec<Served> {
        timeline::served(&self.spans, &self.rollouts, &self.names)
    }

    fn print(&self) {
        println!("endpoint: {}", self.endpoint);
        let served = self.served();
        if served.is_empty() {
            println!("nothing was ever rolled out by serin here");
            return;
        }
        let rows: Vec<Row> = served.iter().map(row).collect();
        print!("{}", table(&rows));
        for gap in self.spans.iter().filter(|span| span.split.is_none()) {
            println!(
                "somebody moved the traffic by hand after {} and before {}",
                gap.from,
                gap.to.map_or_else(|| "now".to_owned(), |to| to.to_string())
            );
        }
    }

    fn message(&self) -> Value {
        let traffic: Vec<Value> = self.spans.iter().map(|span| self.span(span)).collect();
        json!({ "endpoint": self.endpoint, "served": self.served(), "traffic": traffic })
    }

    /// Tells what answered at an instant.
    ///
    /// # Errors
    /// [`Input`] for one that has not come yet.
    fn tell(&self, at: Timestamp, now: Timestamp, format: Format) -> Result<()> {
        if at > now {
            let message = format!("{at} has not come yet: it is {now}");
            return Err(Input::new(message).into());
        }
        let is_then = |span: &&Span| span.from <= at && span.to.is_none_or(|to| at < to);
        let then = self.spans.iter().find(is_then);
        if format == Format::Json {
            let mut message =
                then.map_or_else(|| json!({ "shares": null }), |span| self.span(span));
            message["at"] = json!(at);
            message["endpoint"] = json!(self.endpoint);
            println!("{message}");
            return Ok(());
        }
        println!("endpoint: {}", self.endpoint);
        let Some(then) = then else {
            match self.spans.first() {
                Some(first) => println!(
                    "nothing is known of {at}: the first rollout that is kept began at {}",
                    first.from
                ),
                None => println!("nothing was ever rolled out by serin here"),
            }
            return Ok(());
        };
        let Some(split) = &then.split else {
            println!(
                "what answered at {at} is not known: somebody moved the traffic by hand after {} and before {}",
                then.from,
                then.to.unwrap_or(now)
            );
            return Ok(());
        };
        println!("at {at}");
        for (id, share) in split {
            println!(
                "  {} answered {share}% of the requests, deployed as {id}",
                self.name(id)
            );
        }
        if split.is_empty() {
            println!("  nothing answered: no model had traffic");
        }
        let until = then
            .to
            .map_or_else(|| "now".to_owned(), |to| to.to_string());
        println!(
            "so it was from {} until {until}, {}",
            then.from,
            self.by(then.by)
        );
        if split.len() > 1 {
            println!("an answer names the model that gave it: its `deployedModelId`");
        }
        Ok(())
    }

    /// Who made the traffic so.
    fn by(&self, by: By) -> String {
        let number = match by {
            By::Found => return "found by the first rollout that is kept".to_owned(),
            By::Hand => return "made by hand".to_owned(),
            By::Rollout(number) => number,
        };
        let Some(made) = self.rollouts.iter().find(|r| r.number == number) else {
            return format!("by rollout {number}");
        };
        let verdict = made.verdict.map_or("not judged yet", DeployVerdict::as_str);
        format!(
            "by {}, which took {} through its stages: {verdict} ({})",
            timeline::about(made),
            made.challenger,
            made.reason
        )
    }

    fn name(&self, id: &str) -> String {
        let known = self.names.get(id);
        known.map_or_else(
            || "a model that serin did not deploy".to_owned(),
            Deployment::to_string,
        )
    }

    fn span(&self, span: &Span) -> Value {
        let share = |(id, percent): (&String, &u32)| {
            let known = self.names.get(id);
            json!({
                "deployed_model_id": id,
                "model": known.map(|known| &known.model),
                "version": known.map(|known| &known.version),
                "percent": percent,
            })
        };
        let shares = span.split.as_ref();
        let rollout = match span.by {
            By::Rollout(number) => Some(number),
            By::Found | By::Hand => None,
        };
        json!({
            "from": span.from,
            "to": span.to,
            "shares": shares.map(|split| split.iter().map(share).collect::<Vec<_>>()),
            "rollout": rollout,
        })
    }
}

fn row(served: &Served) -> Row {
    let deployed = match served.version.as_str() {
        "" => format!(", deployed as {}", served.deployed_model_id),
        _ => String::new(),
    };
    let mut why = vec![format!("came: {}{deployed}", served.came)];
    if !served.went.is_empty() {
        why.push(format!("went: {}", served.went));
    }
    Row {
        version: served.version.clone(),
        most_percent: served.most_percent,
        from: served.from,
        to: served.to,
        verdict: served.verdict,
        why,
    }
}

/// So many rollouts are read at a time.
const AT_A_TIME: usize = 16;

/// Every rollout that the bucket keeps and the one under way, the oldest first.
async fn all(ctx: &Context) -> Result<Vec<Rollout>> {
    let bucket = &ctx.config.bucket;
    let listed = ctx
        .storage()
        .objects_list(bucket, &rollouts::prefix(ctx))
        .await;
    let listed = match listed {
        // Nothing was ever rolled out from a bucket that is not there.
        Err(e) if e.is_not_found() => Vec::new(),
        listed => listed.map_err(|e| ctx.of_bucket(e))?,
    };
    let names: Vec<String> = listed
        .into_iter()
        .map(|object| object.name)
        .filter(|name| rollouts::number_of(name).is_some())
        .collect();
    let mut found = Vec::new();
    for names in names.chunks(AT_A_TIME) {
        for read in join_all(names.iter().map(|name| rollouts::read_ended(ctx, name))).await {
            found.extend(read?);
        }
    }
    let under_way = rollouts::last(ctx).await?;
    if let Some(under_way) = under_way {
        found.retain(|ended| ended.number != under_way.number);
        found.push(under_way);
    }
    found.sort_by_key(|rollout| (rollout.number, rollout.started));
    Ok(found)
}
