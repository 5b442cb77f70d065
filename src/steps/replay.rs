//! `serin replay`: rows sent to the endpoint, as they are or shifted, and what it answers.

mod rows;
mod send;
mod shift;

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{CommonFlags, Context, Format};
use crate::error::Input;
use crate::exit::code;
use crate::settings::parse_duration;
use rows::From;
use send::{Answers, Sending};
use shift::Shift;

/// Send rows to the endpoint, and say what it answers
///
/// One instance a request. The rows are those that the champion was tested on, those of the endpoint's log, or a table's;
/// what `--shift` names is changed in them, so that drift can be rehearsed. Against Google Cloud these are real
/// requests. Exits with 1 where no request was answered.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    common: CommonFlags,
    /// test, log, or a table of rows: a file, a pattern or a folder, or the same as a gs:// URI
    #[arg(long, value_name = "test|log|FILE", default_value = "test")]
    from: From,
    /// So many requests a second (/s), minute (/m) or hour (/h), or max: as fast as they are answered
    #[arg(long, value_name = "RATE", default_value = "5/s", value_parser = rate)]
    rate: Rate,
    /// What is changed in the rows: COLUMN=+30%, =-5, =*2, =/2, =is:VALUE, =missing:SHARE; with @SHARE in that share of
    /// them, as in *1000@0.05. May be given several times
    #[arg(long, value_name = "COLUMN=CHANGE")]
    shift: Vec<Shift>,
    /// Send the rows over and over for so long, in real time [default: each once]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    r#for: Option<Duration>,
    /// At most so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// How many requests are under way at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How many requests a second; none is as fast as they are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate(Option<f64>);

fn rate(text: &str) -> Result<Rate, String> {
    let expected = "expected a rate such as 5/s, 300/m or 1000/h, or max";
    if text == "max" {
        return Ok(Rate(None));
    }
    let (count, unit) = text.split_once('/').ok_or(expected)?;
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected.to_owned()),
    };
    let count: f64 = count.parse().map_err(|_| expected)?;
    match count > 0.0 && count.is_finite() {
        true => Ok(Rate(Some(count / seconds))),
        false => Err(expected.to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = parse_duration(text).filter(|duration| !duration.is_zero());
    found.ok_or_else(|| "expected a duration such as 90s, 10m or 1h".to_owned())
}

/// Runs `serin replay`.
///
/// # Errors
/// [`Input`] for the config, the rows and the shifts; `gcp::Error` when the cloud fails;
/// [`Interrupted`](crate::signals::Interrupted), after what was answered is told.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    let ctx = Context::of_triggers(flags.common.clone())?;
    super::one_thread()?.block_on(run(&ctx, &flags))
}

async fn run(ctx: &Context, flags: &Flags) -> Result<u8> {
    let vertex = ctx.vertex();
    let endpoint = vertex.endpoints_get(&ctx.endpoint_name()).await?;
    let endpoint = endpoint.ok_or_else(|| {
        Input::new(format!(
            "there is no endpoint `{}`",
            *ctx.config.deploy.endpoint
        ))
        .at(ctx.config.deploy.endpoint.place.clone())
        .hint("`serin deploy` makes it")
    })?;
    let rows = rows::find(ctx, &endpoint, &flags.from).await?;
    for shift in &flags.shift {
        shift.check(&rows.instances)?;
    }
    let text = flags.format == Format::Text;
    if text {
        println!("endpoint  {}", *ctx.config.deploy.endpoint);
        println!("rows      {}", rows.told());
        for shift in &flags.shift {
            println!("shift     {shift}");
        }
    }
    let sending = Sending {
        vertex: &vertex,
        endpoint: &endpoint,
        instances: &rows.instances,
        shifts: &flags.shift,
        rate: flags.rate.0,
        until: flags.r#for,
        most: flags.requests.unwrap_or(match flags.r#for {
            Some(_) => u64::MAX,
            None => rows.instances.len() as u64,
        }),
    };
    let (answers, ended) = sending.send(flags.concurrency).await;
    match text {
        true => answers.lines().iter().for_each(|line| println!("{line}")),
        false => println!("{}", json!(answers.message())),
    }
    ended?;
    Ok(exit_code(&answers))
}

fn exit_code(answers: &Answers) -> u8 {
    match answers.answered() {
        0 => code::REJECTED,
        _ => code::DONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_by_a_unit() {
        assert_eq!(rate("5/s"), Ok(Rate(Some(5.0))));
        assert_eq!(rate("300/m"), Ok(Rate(Some(5.0))));
        assert_eq!(rate("max"), Ok(Rate(None)));
        for wrong in ["", "5", "0/s", "-1/s", "5/d", "inf/s", "x/s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
