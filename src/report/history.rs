//! The table of what served on an endpoint.

use super::number;
use super::terminal::{Screen, cell};
use super::verdicts::{Tone, deploy_word};
use crate::clock::Timestamp;
use crate::workspace::records::DeployVerdict;

/// A deployed model for as long as it had traffic.
pub(crate) struct Row {
    pub version: String,
    /// The largest share that it had.
    pub most_percent: u32,
    pub from: Timestamp,
    /// `None` while it serves.
    pub to: Option<Timestamp>,
    /// Its rollout's; `None` where none brought it, or it is not judged yet.
    pub verdict: Option<DeployVerdict>,
    /// Why it came and went.
    pub why: String,
}

/// The rows as a table.
pub(crate) fn table(rows: &[Row]) -> String {
    table_on(Screen::of_stdout(), rows)
}

fn table_on(screen: Screen, rows: &[Row]) -> String {
    let head = ["version", "share", "from, UTC", "to", "verdict", "why"];
    let rows = rows.iter().map(|row| {
        let verdict = match row.verdict {
            Some(verdict) => super::terminal::toned(verdict.into(), deploy_word(verdict)),
            None => super::terminal::toned(Tone::Absent, number::NONE),
        };
        vec![
            cell(&row.version),
            cell(&format!("{}%", row.most_percent)),
            cell(&number::date_and_minute(row.from)),
            cell(
                &row.to
                    .map_or_else(|| "now".to_owned(), number::date_and_minute),
            ),
            verdict,
            cell(&row.why),
        ]
    });
    screen.table(&head, &[1], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_model_that_had_traffic() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let rows = [
            Row {
                version: "1".into(),
                most_percent: 100,
                from: at("2026-01-02T03:04:05Z"),
                to: Some(at("2026-02-02T03:04:05Z")),
                verdict: Some(DeployVerdict::Promoted),
                why: "promoted by rollout 1: no harm seen; version 2 took its place in rollout 2"
                    .into(),
            },
            Row {
                version: "2".into(),
                most_percent: 100,
                from: at("2026-02-02T02:04:05Z"),
                to: None,
                verdict: None,
                why: "somebody gave it traffic by hand".into(),
            },
        ];
        let screen = Screen {
            width: 100,
            terminal: false,
            colour: false,
        };
        insta::assert_snapshot!(table_on(screen, &rows));
    }
}
