//! The rows of a table as they are stored, without a query.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::rows::RawRow;
use super::{BigQuery, TableName, wrong};
use crate::gcp::call::{Timeout, segment};
use crate::gcp::error::Error;
use crate::gcp::retry::Idempotency;

/// Rows of a page at most: a page has ten megabytes, and servers of this machine may not know that.
const PAGE: &str = "10000";

/// A page of a table's rows: the cells in the order of the table's columns, as BigQuery writes them. `TIMESTAMP` is
/// microseconds since 1970; a cell of a repeated column is a list of texts.
#[derive(Debug)]
pub(crate) struct DataPage {
    pub rows: Vec<Vec<Value>>,
    /// The token of the page after it; none at the end.
    pub next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    rows: Vec<RawRow>,
    page_token: Option<String>,
}

impl BigQuery {
    /// Whether there is no server of BigQuery: where Cloud Storage is an emulator, it may have a log all the same.
    pub(crate) fn has_no_sql(&self) -> bool {
        matches!(self.base, super::BigQueryBase::Unknown(_))
    }

    /// A page of a table's rows, of these columns; the first without a token. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses, a table that is not there included; with an
    /// [`Input`](crate::error::Input) where the user can set it right.
    pub(crate) async fn tabledata_list(
        &self,
        table: &TableName,
        columns: &str,
        token: Option<&str>,
    ) -> Result<DataPage, Error> {
        let path = format!(
            "/projects/{}/datasets/{}/tables/{}/data",
            segment(&table.project),
            segment(&table.dataset),
            segment(&table.table)
        );
        let (name, method) = (table.to_string(), "tabledata.list");
        let call = self.call_of_rows(method, &name, Method::GET, &path, Idempotency::Always);
        let mut call = call
            .timeout(Timeout::Object)
            .query("maxResults", PAGE)
            .query("selectedFields", columns)
            .query("formatOptions.useInt64Timestamp", "true");
        if let Some(token) = token {
            call = call.query("pageToken", token);
        }
        let page: Page = match self.client.json(&call).await {
            Ok(page) => page,
            Err(error) => return Err(self.told(wrong::of_table(error, table))),
        };
        let next = page.page_token.filter(|next| !next.is_empty());
        if next.is_some() && next.as_deref() == token {
            return Err(call.error("DATA_LOSS", "a page names itself as the next"));
        }
        let rows = page.rows.into_iter();
        Ok(DataPage {
            rows: rows
                .map(|row| row.f.into_iter().map(|cell| cell.v).collect())
                .collect(),
            next,
        })
    }
}

/// The texts of a repeated cell; `None` where it is no list of texts.
pub(crate) fn texts(cell: &Value) -> Option<Vec<&str>> {
    let list = cell.as_array()?;
    let texts = list.iter().map(|element| match element {
        Value::Object(fields) => fields.get("v")?.as_str(),
        Value::String(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
