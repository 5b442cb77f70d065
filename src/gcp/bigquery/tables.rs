//! What is known of a table without reading it.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use super::{BigQuery, TableName, wrong};
use crate::clock::Timestamp;
use crate::gcp::call::segment;
use crate::gcp::error::Error;
use crate::gcp::retry::Idempotency;
use crate::gcp::wire::Int;

/// The column by which tables are divided that name none.
const PARTITION_TIME: &str = "_PARTITIONTIME";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableInfo {
    pub kind: TableKind,
    /// As in `EU` or `europe-west4`; a query runs where its tables are.
    pub location: String,
    /// Without those of the streaming buffer; 0 for a view.
    pub rows: u64,
    /// Without those of the streaming buffer; 0 for a view.
    pub bytes: u64,
    /// Another one after each change.
    pub etag: String,
    pub created: Option<Timestamp>,
    /// Of the rows or of what is said about the table.
    pub modified: Option<Timestamp>,
    /// When it will be deleted.
    pub expires: Option<Timestamp>,
    pub schema: Vec<Field>,
    /// A query must say which partitions it reads.
    pub requires_partition_filter: bool,
    /// By which the table is divided; `_PARTITIONTIME` where that is the time of writing.
    pub partition_column: Option<String>,
    /// Rows were streamed in that the numbers do not count yet, and that exports may miss.
    pub has_streaming_buffer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Table,
    /// A table that shares its bytes with the one it was made from.
    Clone,
    /// A table as it was once.
    Snapshot,
    View,
    MaterializedView,
    /// Files elsewhere.
    External,
    /// A word that came later than this program.
    Other(String),
}

/// A column, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    /// GoogleSQL's name of the type, as in `INT64`, also where Google answers the older `INTEGER`.
    pub kind: String,
    pub mode: Mode,
    /// The parts of a `STRUCT`.
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Nullable,
    Required,
    /// An array.
    Repeated,
}

impl BigQuery {
    /// A table, or `None` where there is none. May be sent twice. Not for wildcards.
    ///
    /// # Errors
    /// When the cloud fails or refuses; with an [`Input`](crate::error::Input) where the user can set it right.
    pub(crate) async fn tables_get(&self, table: &TableName) -> Result<Option<TableInfo>, Error> {
        let path = format!(
            "/projects/{}/datasets/{}/tables/{}",
            segment(&table.project),
            segment(&table.dataset),
            segment(&table.table)
        );
        let name = table.to_string();
        let call = self.call("tables.get", &name, Method::GET, &path, Idempotency::Always)?;
        match self.client.json::<Message>(&call).await {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(self.told(wrong::of_table(error, table))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    location: String,
    num_rows: Option<Int>,
    num_bytes: Option<Int>,
    #[serde(default)]
    etag: String,
    creation_time: Option<Int>,
    last_modified_time: Option<Int>,
    expiration_time: Option<Int>,
    #[serde(default)]
    schema: Schema,
    #[serde(default)]
    require_partition_filter: bool,
    time_partitioning: Option<Partitioning>,
    range_partitioning: Option<Partitioning>,
    streaming_buffer: Option<serde::de::IgnoredAny>,
    clone_definition: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Partitioning {
    field: Option<String>,
    /// Where older tables have it.
    #[serde(default)]
    require_partition_filter: bool,
}

/// The fields of a table or of a query's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Schema {
    #[serde(default)]
    fields: Vec<RawField>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct RawField {
    #[serde(default)]
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    fields: Vec<RawField>,
}

impl From<Schema> for Vec<Field> {
    fn from(schema: Schema) -> Self {
        schema.fields.into_iter().map(Field::from).collect()
    }
}

impl From<RawField> for Field {
    fn from(raw: RawField) -> Self {
        let kind = raw.kind.to_ascii_uppercase();
        Self {
            name: raw.name,
            kind: match kind.as_str() {
                "INTEGER" => "INT64".to_owned(),
                "FLOAT" => "FLOAT64".to_owned(),
                "BOOLEAN" => "BOOL".to_owned(),
                "RECORD" => "STRUCT".to_owned(),
                _ => kind,
            },
            mode: match raw.mode.to_ascii_uppercase().as_str() {
                "REQUIRED" => Mode::Required,
                "REPEATED" => Mode::Repeated,
                _ => Mode::Nullable,
            },
            fields: raw.fields.into_iter().map(Self::from).collect(),
        }
    }
}

impl From<Message> for TableInfo {
    fn from(message: Message) -> Self {
        let count = |n: Option<Int>| n.and_then(|Int(n)| u64::try_from(n).ok()).unwrap_or(0);
        let instant = |ms: Option<Int>| {
            let ms = ms.and_then(|Int(ms)| u64::try_from(ms).ok())?;
            Some(Timestamp::from_unix_micros(0) + Duration::from_millis(ms))
        };
        let time = message.time_partitioning;
        let older = time.as_ref().is_some_and(|p| p.require_partition_filter);
        let by_time = time.map(|p| p.field.unwrap_or_else(|| PARTITION_TIME.to_owned()));
        let by_range = message.range_partitioning.and_then(|p| p.field);
        Self {
            kind: TableKind::of(message.kind, message.clone_definition.is_some()),
            location: message.location,
            rows: count(message.num_rows),
            bytes: count(message.num_bytes),
            etag: message.etag,
            created: instant(message.creation_time),
            modified: instant(message.last_modified_time),
            expires: instant(message.expiration_time),
            schema: message.schema.into(),
            requires_partition_filter: message.require_partition_filter || older,
            partition_column: by_time.or(by_range),
            has_streaming_buffer: message.streaming_buffer.is_some(),
        }
    }
}

impl TableKind {
    /// From Google's word, which is that of a table for a clone too.
    fn of(word: String, is_clone: bool) -> Self {
        match word.as_str() {
            "TABLE" | "" if is_clone => Self::Clone,
            "TABLE" | "" => Self::Table,
            "CLONE" => Self::Clone,
            "SNAPSHOT" => Self::Snapshot,
            "VIEW" => Self::View,
            "MATERIALIZED_VIEW" => Self::MaterializedView,
            "EXTERNAL" => Self::External,
            _ => Self::Other(word),
        }
    }
}
