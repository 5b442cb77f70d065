//! `serin monitor`: what the endpoint saw in a window of time, and whether its champion still predicts.
//!
//! Requests, errors and latency are those of Cloud Monitoring. What was asked and predicted is read from the log of
//! predictions ([`crate::data::requests`]), held against what the champion was trained on by the comparison that
//! `lint` uses, and against the limits by the rules that `trigger check` uses.

mod against;
mod labels;
mod log;
mod publish;
mod traffic;
mod window;

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{CommonFlags, Context, Format, champion, trigger};
use crate::clock::Timestamp;
use crate::config::{self, Baseline, DriftLimits};
use crate::data::requests::{Keep, Plan, Seen, Span};
use crate::error::{Input, Place};
use crate::exit::code;
use crate::report::monitor as report;
use crate::settings::parse_duration;
use crate::workspace::monitor_report::{FORMAT, MonitorReport};
use against::Against;
pub(super) use log::instances as logged_instances;

/// So many predictions wait for their truth in memory; of more a sample does.
const MOST_KEPT: usize = 100_000;
/// So far may the clock of whoever writes the log go ahead: that of a rehearsal does, while nobody waits.
const AHEAD: Duration = Duration::from_secs(24 * 3600);
/// So many windows one look is about at most.
const MOST_WINDOWS: u32 = 100;

/// Say what the endpoint saw, and whether its champion still predicts
///
/// Reads serin.yaml (`monitor`, and the limits of `triggers.performance` and `triggers.drift`), Cloud Monitoring, and the
/// log of predictions: that of `monitor.requests`, else the table that the endpoint logs to. Without a log it says what
/// Cloud Monitoring knows. Writes .serin/monitor.json with a page beside it, gs://BUCKET/monitor/MODEL/monitor.json,
/// which `serin trigger check` reads, and metrics of its own to Cloud Monitoring. Exits with 1 where a limit is crossed.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    common: CommonFlags,
    /// How long a window is, as in 1d or 12h [default: `monitor.window`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    window: Option<Duration>,
    /// Where the last window ends, as in 2026-11-28T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// So many windows, one before the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_WINDOWS)))]
    windows: u32,
    /// Neither the bucket nor Cloud Monitoring is written to
    #[arg(long)]
    dry_run: bool,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = parse_duration(text).filter(|duration| !duration.is_zero());
    found.ok_or_else(|| "expected a duration such as 90s, 12h or 1d".to_owned())
}

/// Runs `serin monitor`.
///
/// # Errors
/// [`Input`] for the config, the log and the labels; `gcp::Error` when the cloud fails.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    let ctx = Context::of_triggers(flags.common.clone())?;
    // Labels and pages of a log are waited for, and counted in between.
    super::one_thread()?.block_on(run(&ctx, &flags))
}

async fn run(ctx: &Context, flags: &Flags) -> Result<u8> {
    let now = ctx.clock.now();
    let until = flags.until.unwrap_or(now);
    let length = flags.window.unwrap_or(ctx.config.monitor.window);
    let Some(serving) = champion::find(ctx).await? else {
        let endpoint = &*ctx.config.deploy.endpoint;
        match flags.format {
            Format::Json => println!("{}", json!({"champion": null})),
            Format::Text => println!(
                "no champion serves at the endpoint {endpoint}: there is nothing to look at yet"
            ),
        }
        return Ok(code::DONE);
    };
    let seen_at = Seeing {
        ctx,
        settings: drift_settings(&ctx.config)?,
        until,
        length,
        windows: flags.windows,
        is_open: flags.until.is_none(),
        quiet: flags.format == Format::Json,
    };
    let report = seen_at.look(&serving).await?;
    let crossed = report
        .windows
        .last()
        .is_some_and(|window| window.judged.iter().any(|judged| judged.is_crossed));
    ctx.workspace.write(&report, &[])?;
    let page = report::write(&ctx.workspace, &report)?;
    if !flags.dry_run {
        publish::keep(ctx, &report).await?;
        // Points of the past would be refused, and say nothing of now.
        if flags.until.is_none() {
            publish::metrics(ctx, &report, now).await;
        }
    }
    match flags.format {
        Format::Json => println!("{}", serde_json::to_string(&report)?),
        Format::Text => {
            print!("{}", report::text(&report));
            println!("report: {}", page.display());
        }
    }
    Ok(match crossed {
        true => code::REJECTED,
        false => code::DONE,
    })
}

/// The thresholds of drift: those of the trigger, else those of `lint`, else the usual ones.
fn drift_settings(config: &config::Config) -> Result<config::Drift> {
    let triggers = config.triggers.as_ref();
    let of_trigger = triggers.and_then(|triggers| triggers.drift.as_ref());
    let settings = of_trigger
        .map(|cause| cause.drift.clone())
        .or_else(|| config.lint.drift.clone());
    Ok(settings.unwrap_or(config::Drift {
        against: Baseline::Champion,
        limits: DriftLimits {
            psi: 0.2,
            jensen_shannon: None,
            l_infinity: None,
            kolmogorov_smirnov: None,
        },
        fdr: 0.05,
        min_rows: 200,
        columns: Vec::new(),
        place: Place::File(config.path.clone()),
    }))
}

/// One look.
struct Seeing<'a> {
    ctx: &'a Context,
    settings: config::Drift,
    /// Where the last window ends.
    until: Timestamp,
    length: Duration,
    windows: u32,
    /// The last window takes in what a clock that goes ahead of this one has logged: no end was asked for.
    is_open: bool,
    /// Nothing but the result is printed.
    quiet: bool,
}

impl Seeing<'_> {
    /// Tells what is done or missing.
    fn say(&self, line: impl std::fmt::Display) {
        match self.quiet {
            true => eprintln!("{line}"),
            false => println!("{line}"),
        }
    }

    /// The windows, the oldest first.
    fn spans(&self) -> Vec<(Timestamp, Timestamp)> {
        let ends = (0..self.windows).rev();
        let spans = ends.map(|back| {
            let until = self.until - self.length * back;
            (until - self.length, until)
        });
        spans.collect()
    }

    /// What of the log is read for a window.
    fn span(&self, from: Timestamp, until: Timestamp) -> Span {
        match self.is_open && until == self.until {
            true => Span::new(from, until + AHEAD),
            false => Span::new(from, until),
        }
    }

    async fn look(&self, serving: &champion::Serving) -> Result<MonitorReport> {
        let ctx = self.ctx;
        let endpoint = ctx.vertex().endpoints_get(&ctx.endpoint_name()).await?;
        let endpoint = endpoint.ok_or_else(|| {
            Input::new(format!(
                "the endpoint {} is gone",
                *ctx.config.deploy.endpoint
            ))
        })?;
        let deployed = window::Deployed::find(ctx, &endpoint, &serving.champion).await?;
        let against = Against::find(self, serving).await?;
        let labels = labels::wanted(ctx, self);
        let spans = self.spans();
        let plan = Plan {
            endpoints: window::names_of(&endpoint),
            champion: deployed.champion.clone(),
            windows: spans
                .iter()
                .map(|(from, until)| self.span(*from, *until))
                .collect(),
            features: against.features.clone(),
            ignored: against.ignored.clone(),
            scores: against.scores.clone(),
            keep: labels.as_ref().map(|wanted| Keep {
                span: self.span(wanted.from, wanted.until),
                key: wanted.key.clone(),
                most: MOST_KEPT,
            }),
        };
        let found = log::find(ctx, &endpoint)?;
        let read = match &found {
            Some(at) => Some(log::read(self, at, &plan).await?),
            None => {
                self.say("log: none: `monitor.requests` names none and the endpoint writes none, so only what Cloud Monitoring knows is told");
                None
            }
        };
        let deployed = deployed.with(ctx, read.as_ref()).await?;
        let measured = match (&labels, &read) {
            (Some(wanted), Some(read)) => {
                labels::measure(self, wanted, &read.kept, &against).await?
            }
            _ => None,
        };
        let mut windows = publish::earlier(ctx, spans.first().map(|(from, _)| *from)).await?;
        let mut drift = None;
        for (at, (from, until)) in spans.iter().enumerate() {
            let counts = traffic::read(ctx, &endpoint, &deployed, *from, *until).await?;
            let is_last = at + 1 == spans.len();
            let of_window = window::Parts {
                version: &serving.champion.version,
                from: *from,
                until: *until,
                traffic: counts,
                seen: read.as_ref().and_then(|read: &Seen| read.windows.get(at)),
                log: read.as_ref().zip(found.as_ref()),
                endpoint: &endpoint,
                deployed: &deployed,
                against: &against,
                settings: &self.settings,
                measured: measured.as_ref().filter(|_| is_last),
            };
            let (report, of_columns) = of_window.report();
            windows.push(report);
            drift = of_columns;
        }
        let mut report = MonitorReport {
            format: FORMAT,
            model: ctx.config.model.to_string(),
            version: serving.champion.version.clone(),
            from: spans.last().map_or(self.until, |(from, _)| *from),
            until: self.until,
            performance: measured.map(|m| m.performance).unwrap_or_default(),
            drift,
            windows,
        };
        self.judge(&mut report);
        Ok(report)
    }

    /// Holds the last window against the limits.
    fn judge(&self, report: &mut MonitorReport) {
        let Some(triggers) = &self.ctx.config.triggers else {
            return;
        };
        let judged = trigger::judged(triggers, report);
        if let Some(last) = report.windows.last_mut() {
            last.judged = judged;
        }
    }
}
