//! Cloud Logging: reading entries.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::endpoint::Base;
use super::error::Error;
use super::retry::Idempotency;
use crate::clock::Timestamp;

/// The most that Google gives in one page.
const PAGE: u32 = 1000;

/// A client of Cloud Logging in one project.
#[derive(Clone, Debug)]
pub struct Logging {
    client: Client,
    base: Base,
    parent: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct LogEntry {
    pub timestamp: Timestamp,
    /// Unique among the entries of one time stamp, and their order.
    pub insert_id: String,
    /// As in `ERROR`; `DEFAULT` where none is given.
    pub severity: String,
    /// The message, or a structured entry without one as JSON; no newline at its end.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    timestamp: Timestamp,
    #[serde(default)]
    insert_id: String,
    severity: Option<String>,
    text_payload: Option<String>,
    json_payload: Option<Value>,
}

impl From<Raw> for LogEntry {
    fn from(raw: Raw) -> Self {
        let json = raw.json_payload.as_ref();
        let message = json.and_then(|json| json.get("message")?.as_str());
        let text = message
            .map(str::to_owned)
            .or(raw.text_payload)
            .or_else(|| json.map(Value::to_string))
            .unwrap_or_default();
        Self {
            timestamp: raw.timestamp,
            insert_id: raw.insert_id,
            severity: raw.severity.unwrap_or_else(|| "DEFAULT".into()),
            text: text.trim_end_matches(['\r', '\n']).to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    entries: Vec<LogEntry>,
    next_page_token: Option<String>,
}

impl Logging {
    pub fn new(client: &Client, project: &str) -> Self {
        Self {
            client: client.clone(),
            base: client.bases().logging.clone(),
            parent: format!("projects/{project}"),
        }
    }

    /// One page of the entries that a filter lets through, oldest first, and the token of the next
    /// page. A page may be empty and still have one. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn entries_list(
        &self,
        filter: &str,
        page_token: Option<&str>,
    ) -> Result<(Vec<LogEntry>, Option<String>), Error> {
        let mut message = json!({
            "resourceNames": [self.parent],
            "filter": filter,
            "orderBy": "timestamp asc",
            "pageSize": PAGE,
        });
        if let Some(token) = page_token {
            message["pageToken"] = json!(token);
        }
        let path = "/v2/entries:list";
        let call = self
            .base
            .call(
                "entries.list",
                &self.parent,
                Method::POST,
                path,
                Idempotency::Always,
            )
            .json(&message)?;
        let page: Page = self.client.json(&call).await?;
        Ok((page.entries, page.next_page_token.filter(|t| !t.is_empty())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_message_wherever_it_stands() {
        let text = |payload: &str| {
            let entry = format!(r#"{{"timestamp":"2026-01-01T00:00:00.123456789Z",{payload}}}"#);
            serde_json::from_str::<LogEntry>(&entry).unwrap().text
        };
        assert_eq!(text(r#""textPayload":"a\n""#), "a");
        assert_eq!(text(r#""jsonPayload":{"message":"b","x":1}"#), "b");
        assert_eq!(text(r#""jsonPayload":{"x":1}"#), r#"{"x":1}"#);
        assert_eq!(text(r#""logName":"l""#), "");
    }
}
