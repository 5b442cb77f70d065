//! `serin auth`: who serin is to Google Cloud, from which source, until when. The token itself is never shown.

use anyhow::Result;
use serde::Serialize;

use super::{Format, one_thread};
use crate::clock::{Clock, Timestamp};
use crate::error::Input;
use crate::exit::code;
use crate::gcp::{self, Access, Client, Redirect};
use crate::printable;

const CLOUD_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Say who serin is to Google Cloud: the account, from which source, until when
///
/// Reads the variables that Google's own libraries read, the credentials file that one of them names or
/// gcloud wrote, else the metadata server or gcloud, and asks for an access token. Writes nothing, and
/// prints never the token: the account, the source, the project that requests are counted for, the end
/// of the token and its scopes, and what is redirected to an emulator and carries no token.
///
/// Exits with 0 where there is a token, or none is needed since every service is redirected; with 2 where
/// there are no credentials, or they are refused or of a kind that serin does not take; with 3 where the
/// server that gives tokens failed for two minutes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Lines for people, or a JSON object
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Says who serin is.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    one_thread()?.block_on(auth(flags.format))?;
    Ok(code::DONE)
}

/// What is printed.
#[derive(Serialize)]
struct Account {
    /// `None` where no request goes to Google.
    access: Option<Access>,
    redirected: Vec<Redirect>,
}

/// Asks for a token and prints what there is to tell about it.
///
/// # Errors
/// [`Input`] when there are no credentials or they cannot be used, `gcp::Error` when the server that
/// gives tokens fails.
async fn auth(format: Format) -> Result<()> {
    let clock = Clock::from_env().map_err(|e| Input::new(e.to_string()))?;
    let client = Client::from_env(clock)?;
    let access = if client.speaks_to_google() {
        Some(client.access().await.map_err(wrong)?)
    } else {
        None
    };
    let account = Account {
        access,
        redirected: client.redirected(),
    };
    match format {
        Format::Text => println!("{}", text(&account, Timestamp::real_now())),
        Format::Json => println!("{}", printable::json(&serde_json::to_string(&account)?)),
    }
    Ok(())
}

/// What the user can set right is about no request of theirs.
fn wrong(mut error: gcp::Error) -> anyhow::Error {
    match error.input.take() {
        Some(input) => (*input).into(),
        None => error.into(),
    }
}

fn text(account: &Account, now: Timestamp) -> String {
    let mut lines = Vec::new();
    match &account.access {
        Some(access) => {
            let minutes = access.valid_until.since(now).as_secs().div_ceil(60);
            let quota = access.quota_project.as_deref();
            lines.push(format!("serin is:    {}", access.principal));
            lines.push(format!("source:      {}", access.source));
            lines.push(format!(
                "counted for: {}",
                quota.unwrap_or("the account's own project")
            ));
            lines.push(format!(
                "token until: {} (in {minutes} minutes)",
                access.valid_until
            ));
            if !access.scopes.is_empty() {
                lines.push(format!("scopes:      {}", access.scopes.join(" ")));
                if !access.scopes.iter().any(|scope| scope == CLOUD_SCOPE) {
                    lines.push(format!(
                        "warning: without the scope {CLOUD_SCOPE} Google refuses most requests"
                    ));
                }
            }
        }
        None => lines.push("no request goes to Google, so no account is needed".to_owned()),
    }
    for redirect in &account.redirected {
        let Redirect { variable, url } = redirect;
        lines.push(format!(
            "redirected:  to {url} by {variable}, without a token"
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::Principal;

    #[test]
    fn a_narrow_scope_is_pointed_out() {
        let until: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let account = Account {
            access: Some(Access {
                principal: Principal::ServiceAccount(None),
                source: "the metadata server at 169.254.169.254".into(),
                quota_project: Some("payer".into()),
                valid_until: until,
                scopes: vec!["https://www.googleapis.com/auth/devstorage.read_only".into()],
            }),
            redirected: Vec::new(),
        };
        let now = "2026-01-01T00:00:30Z".parse().unwrap();
        insta::assert_snapshot!(text(&account, now), @r"
        serin is:    a service account, whose address the metadata server does not tell
        source:      the metadata server at 169.254.169.254
        counted for: payer
        token until: 2026-01-01T01:00:00.000000Z (in 60 minutes)
        scopes:      https://www.googleapis.com/auth/devstorage.read_only
        warning: without the scope https://www.googleapis.com/auth/cloud-platform Google refuses most requests
        ");
    }
}
