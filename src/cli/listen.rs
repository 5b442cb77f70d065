//! `serin listen`: the server behind Eventarc, Pub/Sub and Cloud Scheduler, which looks and starts builds.

mod desk;
mod event;
mod keys;
mod server;
mod token;

use anyhow::Result;
use clap::Args;

use super::many_threads;
use crate::config::{ListenAt, Triggers};
use crate::error::Input;
use crate::exit::code;
use crate::serve::Address;
use crate::steps::{CommonFlags, Context, trigger};
use server::Server;
use token::{Expected, Trust};

/// Wait for events and start builds by them; what a service of Cloud Run runs
///
/// Takes CloudEvents (binary and structured), pushes of Pub/Sub and calls of Cloud Scheduler by POST, on any path. Each
/// wakes a look at every cause, as `serin trigger check` does it; an event that was seen before wakes none. GET on
/// /health answers 200.
///
/// A caller shows an ID token of Google's: of `triggers.listen.service_account`, for `triggers.listen.audience`. A wrong
/// one is answered with 401, one of another account with 403, a body beyond 1 MiB with 413. An authenticated request
/// that is not understood is answered with 204 and counted, since Pub/Sub would send it again for days. 200 is answered
/// once the decision is recorded in the bucket, 500 where that failed, and 503 while a build was decided on and is not
/// known to be started.
///
/// Listens on 127.0.0.1, and in Cloud Run on 0.0.0.0. Ends with SIGTERM after the open requests.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    pub common: CommonFlags,
    #[command(flatten)]
    pub looking: trigger::LookingFlags,
    /// 0 takes a free one
    #[arg(long, default_value_t = 8080, env = "PORT")]
    pub port: u16,
    /// The address to listen on [default: 127.0.0.1, in a container 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<std::net::IpAddr>,
    /// What tokens are for, beside what serin.yaml says; may be given several times
    #[arg(long = "audience", value_name = "TEXT")]
    pub audiences: Vec<String>,
    /// Who checks the signature of a token
    #[arg(long, value_enum, default_value_t = Trust::Signature)]
    pub trust: Trust,
    /// Where the keys of tokens are [default: Google's; those of the emulator where STORAGE_EMULATOR_HOST is set]
    #[arg(long, value_name = "URL", value_parser = keys_url)]
    pub keys: Option<String>,
}

fn keys_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|e| e.to_string())?;
    let host = url.host_str().unwrap_or_default();
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if is_here => Ok(text.to_owned()),
        _ => Err("expected an address of https".to_owned()),
    }
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn command(flags: Flags) -> Result<u8> {
    let address = Address::choose(flags.host, std::env::vars_os())?;
    let ctx = Context::of_triggers(flags.common)?;
    let expected = expected(trigger::triggers(&ctx)?, flags.trust, flags.audiences)?;
    let keys = flags.keys.unwrap_or_else(|| ctx.client.certs_url());
    let server = Server::new(ctx, flags.looking.source, expected, keys);
    many_threads()?.block_on(server::serve(server, address, flags.port))?;
    Ok(code::DONE)
}

/// What a caller's token has to say.
///
/// # Errors
/// [`Input`] where no account or no audience is known.
fn expected(triggers: &Triggers, trust: Trust, mut audiences: Vec<String>) -> Result<Expected> {
    let listen = triggers.listen.as_ref().ok_or_else(|| {
        Input::new("`triggers.listen` is missing, which says whose token callers send")
            .at(triggers.place.clone())
            .hint("name it: `listen: {service: serin-listen, service_account: ADDRESS}`")
    })?;
    audiences.extend(
        listen
            .audience
            .as_ref()
            .map(|audience| audience.value.clone()),
    );
    if let (ListenAt::Url(url), None) = (&listen.at, &listen.audience) {
        audiences.push(url.value.clone());
    }
    if audiences.is_empty() {
        return Err(Input::new("nothing says what callers' tokens are for")
            .at(listen.service_account.place.clone())
            .hint("`triggers.listen.audience` does, or `--audience`: the service's URL, as `gcloud run services describe` tells it")
            .into());
    }
    Ok(Expected {
        trust,
        audiences,
        account: listen.service_account.value.clone(),
    })
}
