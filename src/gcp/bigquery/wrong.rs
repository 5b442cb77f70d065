//! BigQuery's errors in the user's words: which line of the query, which role, which setting.

use crate::error::{Input, Place};
use crate::gcp::error::{Error, clean, split_position};
use crate::settings::{draw, yaml::Mark};

use super::jobs::ErrorProto;
use super::{Query, TableName};

/// How far BigQuery moves on at a tab, in columns.
const TAB: usize = 8;

/// What to do where there is no server.
const START: &str = "start one of this machine, and say where it is:
  pip install bqemulator && bqemulator start --rest-port 9050 --grpc-port 9060
  export BIGQUERY_EMULATOR_HOST=http://127.0.0.1:9050";

/// An error that the user can set right: the method's in short, then what is wrong.
fn with_input(error: Error, message: &str, input: Input) -> Error {
    Error {
        message: message.to_owned(),
        input: Some(Box::new(input)),
        ..error
    }
}

/// Why a job failed.
pub(super) fn of_job(id: &str, proto: ErrorProto, query: &Query) -> Error {
    let ErrorProto { reason, message } = proto;
    let error = Error {
        reason: Some(reason.clone()),
        ..Error::new("jobs.insert", id, &reason, clean(&message))
    };
    of_query(error, query)
}

/// An error of a query, which was refused or failed later.
pub(super) fn of_query(error: Error, query: &Query) -> Error {
    if error.input.is_some() {
        return error;
    }
    let told = error.message.clone();
    match error.reason.as_deref() {
        Some("invalidQuery") => with_input(error, "the query is wrong", in_query(&told, query)),
        Some("bytesBilledLimitExceeded") => {
            with_input(error, "the query costs too much", too_much(&told, query))
        }
        Some("accessDenied") => {
            let hint = if told.contains("bigquery.jobs.create") {
                "grant it `roles/bigquery.jobUser` on the project that pays"
            } else {
                "grant it `roles/bigquery.dataViewer` on the dataset, and `roles/bigquery.jobUser` on the project that pays"
            };
            let input = Input::new(told).hint(hint);
            with_input(error, "refused", input)
        }
        Some("notFound") => {
            let location = &query.location;
            let input = Input::new(told).hint(format!(
                "look at the name; the query ran in `{location}`, where only that location's datasets are found"
            ));
            with_input(error, "something of the query is missing", input)
        }
        _ => error,
    }
}

/// An error of a request for a table.
pub(super) fn of_table(error: Error, table: &TableName) -> Error {
    if error.input.is_some()
        || error.http != Some(403)
        || error.reason.as_deref() != Some("accessDenied")
    {
        return error;
    }
    let TableName {
        project, dataset, ..
    } = table;
    let input = Input::new(error.message.clone())
        .at(Place::Resource(table.to_string()))
        .hint(format!(
            "grant it `roles/bigquery.dataViewer` on the dataset `{project}.{dataset}`"
        ));
    with_input(error, "refused", input)
}

/// An error of a server that a variable names in Google's place: one that is not there, or is no BigQuery.
pub(super) fn of_server(error: Error, variable: &str, url: &str) -> Error {
    let why = match (error.http, error.status.as_str()) {
        (None, "UNAVAILABLE") if error.input.is_none() => "no server answers",
        (Some(501), _) => "the server has no BigQuery",
        _ => return error,
    };
    let input = Input::new(format!("{why} at {url}, which `{variable}` names")).hint(START);
    Error {
        input: Some(Box::new(input)),
        ..error
    }
}

/// Nothing says where BigQuery is, while Cloud Storage is an emulator.
pub(super) fn nowhere(method: &'static str, resource: &str, storage: &str) -> Error {
    let input = Input::new(format!(
        "Cloud Storage is the emulator at {storage}, which has no BigQuery, and `BIGQUERY_EMULATOR_HOST` names no other server"
    ))
    .hint(START);
    let error = Error::new(method, resource, "UNAVAILABLE", "");
    with_input(error, "there is no BigQuery to ask", input)
}

fn too_much(told: &str, query: &Query) -> Input {
    // "Query exceeded limit for bytes billed: 1000000. 10485760 or higher required."
    let needed = told
        .split_once(" or higher required")
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
    let allowed = query.maximum_bytes_billed.unwrap_or_default();
    let reads = match needed {
        Some(bytes) => format!("{bytes} bytes"),
        None => "more".to_owned(),
    };
    let raise = match needed {
        Some(bytes) => format!("raise it to {bytes} at least"),
        None => "raise it".to_owned(),
    };
    Input::new(format!(
        "the query would be billed for {reads}, and `{}` allows {allowed}",
        query.setting
    ))
    .hint(format!(
        "{raise}, or let the query read less: fewer columns, or fewer partitions"
    ))
}

/// What Google says is wrong with a query, with its line drawn where it names one.
fn in_query(told: &str, query: &Query) -> Input {
    let Some((text, (line, column))) = split_position(told) else {
        return match &query.file {
            Some(path) => Input::new(told).at_file(path),
            None => Input::new(told),
        };
    };
    let mark = mark(&query.sql, line, column);
    let input = match &query.file {
        Some(path) => Input::new(text).at(Place::Text {
            path: path.clone(),
            line,
            column: mark.as_ref().map_or(column, |mark| mark.column),
        }),
        None => Input::new(told),
    };
    match mark {
        Some(mark) => input.drawing(draw(&query.sql, &mark)),
        None => input,
    }
}

/// The word at a line and column of a query, both from 1. A column of Google's is a character, and a tab goes
/// on to the next that follows a multiple of eight; one of the mark is a character, as editors count. `None`
/// where the query has no such line.
fn mark(sql: &str, line: usize, column: usize) -> Option<Mark> {
    let mut start = 0;
    let mut lines = sql.split_inclusive('\n');
    for _ in 1..line {
        start += lines.next()?.len();
    }
    // The place may be behind the last line's end.
    let text = lines.next().unwrap_or_default();
    let text = text.trim_end_matches(['\n', '\r']);
    let mut at = 1;
    let mut within = text.len();
    for (offset, c) in text.char_indices() {
        if at >= column {
            within = offset;
            break;
        }
        at += if c == '\t' { TAB - (at - 1) % TAB } else { 1 };
    }
    let rest = text.get(within..).unwrap_or_default();
    let before = text.get(..within).unwrap_or_default();
    Some(Mark {
        line,
        column: before.chars().count() + 1,
        start: start + within,
        end: start + within + word(rest),
    })
}

/// How many bytes the word has that a text begins with: a name, a quoted name, or one character.
fn word(text: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    if let Some(rest) = text.strip_prefix('`') {
        return rest.find('`').map_or(1, |end| end + 2);
    }
    match text.find(|c: char| !part(c)) {
        Some(0) => text.chars().next().map_or(0, char::len_utf8),
        Some(end) => end,
        None => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn query(sql: &str, file: Option<&str>) -> Query {
        Query {
            sql: sql.to_owned(),
            file: file.map(Into::into),
            location: "EU".to_owned(),
            labels: std::collections::BTreeMap::new(),
            maximum_bytes_billed: Some(1_000_000),
            setting: "data.max_bytes_billed",
            job_id: "serin-1".to_owned(),
            timeout: Duration::from_secs(60),
        }
    }

    fn told(reason: &str, message: &str, query: &Query) -> String {
        let proto = ErrorProto {
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let error = anyhow::Error::new(of_job("serin-1", proto, query));
        format!(
            "exit {}\n{}",
            crate::exit::exit_code(&error),
            crate::exit::render(&error)
        )
    }

    #[test]
    fn a_wrong_query_is_drawn() {
        let sql = "SELECT\n\tcustomer,\n\t`total amount` + chrun\nFROM t\n";
        let of_user = query(sql, Some("features.sql"));
        insta::assert_snapshot!(told(
            "invalidQuery",
            "Unrecognized name: chrun; Did you mean churn? at [3:26]",
            &of_user
        ));
        let of_serin = query(sql, None);
        insta::assert_snapshot!(told(
            "invalidQuery",
            "Unrecognized name: `total amount` at [3:9]",
            &of_serin
        ));
        insta::assert_snapshot!(told(
            "invalidQuery",
            "Syntax error: Unexpected end of script at [5:1]",
            &of_user
        ));
        insta::assert_snapshot!(told("invalidQuery", "Division by zero: 1 / 0", &of_user));
        insta::assert_snapshot!(told("invalidQuery", "Syntax error at [99:1]", &of_serin));
    }

    #[test]
    fn what_the_user_can_set_right_says_how() {
        let query = query("SELECT 1", None);
        let all: Vec<String> = [
            ("accessDenied", "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p."),
            ("accessDenied", "Access Denied: Table p:d.t: User does not have permission to query table p:d.t."),
            ("notFound", "Not found: Table p:d.t was not found in location EU"),
            ("bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 1000000. 10485760 or higher required."),
            ("bytesBilledLimitExceeded", "Query exceeded limit for bytes billed"),
            ("resourcesExceeded", "Resources exceeded during query execution"),
            ("quotaExceeded", "Custom quota exceeded: Your usage exceeded the custom quota for QueryUsagePerDay"),
        ]
        .into_iter()
        .map(|(reason, message)| told(reason, message, &query))
        .collect();
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn any_place_can_be_marked() {
        for sql in ["", "a", "é\tü\r\n`x", "\n\n"] {
            for line in 1..5 {
                for column in 1..20 {
                    if let Some(mark) = mark(sql, line, column) {
                        assert!(sql.get(mark.start..mark.end).is_some(), "{sql:?}");
                        let _drawn = draw(sql, &mark);
                    }
                }
            }
        }
    }
}
