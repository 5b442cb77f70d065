//! The table of what served on an endpoint.

use super::number;
use super::terminal::{Screen, cell, plain, toned};
use super::verdicts::{Tone, deploy_word};
use crate::clock::Timestamp;
use crate::workspace::records::DeployVerdict;

/// A deployed model for as long as it had traffic.
pub(crate) struct Row {
    /// Empty where serin did not deploy it.
    pub version: String,
    /// The largest share that it had.
    pub most_percent: u32,
    pub from: Timestamp,
    /// `None` while it serves.
    pub to: Option<Timestamp>,
    /// Its rollout's; `None` where none brought it, or it is not judged yet.
    pub verdict: Option<DeployVerdict>,
    /// Why it came, and why it went; each on a line of its own.
    pub why: Vec<String>,
}

/// The rows as a table, each with its reasons below.
pub(crate) fn table(rows: &[Row]) -> String {
    table_on(Screen::of_stdout(), rows)
}

fn table_on(screen: Screen, rows: &[Row]) -> String {
    let head = ["version", "share", "from, UTC", "to", "verdict"];
    let cells = rows.iter().map(|row| {
        let verdict = match row.verdict {
            Some(verdict) => toned(verdict.into(), deploy_word(verdict)),
            None => toned(Tone::Absent, number::NONE),
        };
        let version = match row.version.as_str() {
            "" => number::NONE,
            version => version,
        };
        let to = row.to.map(number::date_and_minute);
        vec![
            cell(version),
            cell(&format!("{}%", row.most_percent)),
            cell(&number::date_and_minute(row.from)),
            cell(to.as_deref().unwrap_or("now")),
            verdict,
        ]
    });
    let table = screen.table(&head, &[1], cells.collect());
    let mut text = String::new();
    // Two lines of head, then a line a row: no cell is long.
    let reasons = [&[][..], &[][..]].into_iter();
    let reasons = reasons.chain(rows.iter().map(|row| row.why.as_slice()));
    for (line, why) in table.lines().zip(reasons) {
        text.push_str(line);
        text.push('\n');
        for reason in why {
            text.push_str(&format!("    {}\n", plain(reason)));
        }
    }
    text
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
                why: vec![
                    "came: promoted by rollout 1 of the build b: no harm seen".into(),
                    "went: version 2 took its place in rollout 2".into(),
                ],
            },
            Row {
                version: "2".into(),
                most_percent: 100,
                from: at("2026-02-02T02:04:05Z"),
                to: None,
                verdict: None,
                why: vec!["came: somebody gave it traffic by hand".into()],
            },
        ];
        let screen = Screen {
            width: 80,
            terminal: false,
            colour: false,
        };
        insta::assert_snapshot!(table_on(screen, &rows));
    }
}
