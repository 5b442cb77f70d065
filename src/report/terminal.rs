//! Tables for the terminal: aligned, light, in plain ASCII without colour where standard output is none.
//!
//! Values of the user are shown with their control characters escaped, so that no cell can move the cursor.

use std::io::IsTerminal;

use comfy_table::{
    Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle,
};

use super::verdicts::{self, Tone};
use super::{Records, number};
use crate::printable;
use crate::workspace::Workspace;
use crate::workspace::records::{Deployed, Look, Traffic, Validated};

/// The columns of a build log.
const LOG_WIDTH: u16 = 80;

/// The five steps of a build that has ended, their verdicts, and the evidence in a few words.
pub(crate) fn summary(workspace: &Workspace) -> String {
    summary_on(Screen::of_stdout(), &Records::of_ended_build(workspace))
}

/// Gates and metrics.
pub(crate) fn validate(validated: &Validated) -> String {
    validate_on(Screen::of_stdout(), validated)
}

/// The canary's stages and its end.
pub(crate) fn deploy(deployed: &Deployed) -> String {
    deploy_on(Screen::of_stdout(), deployed)
}

/// The looks of a rollout as a table that grows on a terminal, a line a look; a log gets none of it.
#[derive(Default)]
pub(crate) struct Live {
    has_head: bool,
}

impl Live {
    /// Adds a look.
    pub(crate) fn show(&mut self, look: &Look) {
        if !std::io::stdout().is_terminal() {
            return;
        }
        if !self.has_head {
            println!("{LIVE_HEAD}");
            self.has_head = true;
        }
        println!("{}", live_line(look));
    }
}

/// The last looks of a rollout as a table; nothing where there are none.
pub(crate) fn looks(looks: &[Look]) -> String {
    const SHOWN: usize = 10;
    let last = &looks[looks.len().saturating_sub(SHOWN)..];
    if last.is_empty() {
        return String::new();
    }
    let lines = last.iter().map(|look| live_line(look) + "\n");
    std::iter::once(format!("{LIVE_HEAD}\n"))
        .chain(lines)
        .collect()
}

const LIVE_HEAD: &str =
    "  until  share   challenger failed     champion failed  errors  latency  limits  decision";

/// A look in columns: the evidence as a share of what rolls back.
fn live_line(look: &Look) -> String {
    let counts = |requests: u64, failed: u64| {
        format!("{} of {}", number::count(failed), number::count(requests))
    };
    let champion = look
        .champion
        .map_or_else(|| number::NONE.to_owned(), |c| counts(c.requests, c.failed));
    let evidence = &look.evidence;
    let part = |value: f64, limit: f64| number::value((value / limit).min(999.0));
    format!(
        "  {} {:>5}% {:>19} {:>19} {:>7} {:>8} {:>7}  {}",
        number::minute(look.until),
        look.percent,
        counts(look.challenger.requests, look.challenger.failed),
        champion,
        part(evidence.errors, evidence.beside_limit),
        part(evidence.latency, evidence.beside_limit),
        part(evidence.limits, evidence.limits_limit),
        plain(&look.rule)
    )
}

/// What the text is made for.
#[derive(Clone, Copy)]
pub(super) struct Screen {
    pub(super) width: u16,
    pub(super) terminal: bool,
    pub(super) colour: bool,
}

impl Screen {
    pub(super) fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            width: Table::new().width().unwrap_or(LOG_WIDTH).max(40),
            terminal,
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        }
    }

    /// A table with a line under its head; the columns in `numbers` are flush right.
    pub(super) fn table(self, head: &[&str], numbers: &[usize], rows: Vec<Vec<Cell>>) -> String {
        let line = if self.terminal { '\u{2500}' } else { '-' };
        let mut table = Table::new();
        table
            .load_style(
                TableStyle::new().header_separator(LineStyle::none().fill(line).junction(line)),
            )
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_truncation_indicator("...")
            .force_no_tty()
            .set_width(self.width)
            .set_header(head.iter().map(Cell::new).collect::<Vec<_>>());
        if self.colour {
            table.enforce_styling();
        }
        table.add_rows(rows);
        for column in numbers {
            if let Some(column) = table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        // A verdict is one word, which is never broken.
        let verdict = head.iter().position(|name| *name == "verdict");
        if let Some(column) = verdict.and_then(|index| table.column_mut(index)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text of the user on one line, harmless for a terminal.
pub(super) fn plain(text: &str) -> String {
    printable::line(text).into_owned()
}

pub(super) fn cell(text: &str) -> Cell {
    Cell::new(plain(text))
}

pub(super) fn toned(tone: Tone, word: &str) -> Cell {
    let cell = Cell::new(word);
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Unsure => cell.fg(Color::Yellow),
        Tone::Absent => cell.fg(Color::DarkGrey),
    }
}

fn summary_on(screen: Screen, records: &Records) -> String {
    let verdicts = verdicts::of_steps(records);
    // A build without any of serin's steps.
    if verdicts.iter().all(|v| v.tone == Tone::Absent) {
        return String::new();
    }
    let rows = verdicts
        .iter()
        .map(|v| vec![cell(v.step), toned(v.tone, v.word), cell(&v.evidence)])
        .collect();
    screen.table(&["step", "verdict", "evidence"], &[], rows)
}

fn validate_on(screen: Screen, validated: &Validated) -> String {
    let metrics = &validated.metrics;
    let compared = metrics.champion.is_some();
    let head = ["metric", "challenger", "champion"];
    let shown: Vec<_> = validated.main_metrics().collect();
    let rows = shown
        .iter()
        .map(|(name, value)| {
            let mut row = vec![cell(name), cell(&number::metric_value(**value))];
            if let Some(champion) = &metrics.champion {
                let value = champion.get(*name).copied();
                row.push(cell(
                    &value.map_or_else(|| number::NONE.into(), number::metric_value),
                ));
            }
            row
        })
        .collect();
    let mut text = screen.table(&head[..if compared { 3 } else { 2 }], &[], rows);
    let others = metrics.challenger.len() - shown.len();
    if others > 0 {
        text.push_str(&format!("{others} more in .serin/validate.json\n"));
    }
    if !validated.gates.is_empty() {
        let rows = validated
            .gates
            .iter()
            .map(|g| {
                vec![
                    toned(g.verdict.into(), g.verdict.as_str()),
                    cell(&g.metric),
                    cell(&g.rule),
                    cell(&g.message),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&screen.table(&["gate", "metric", "rule", "why"], &[], rows));
    }
    for note in &validated.notes {
        text.push_str(&format!("note: {}\n", plain(note)));
    }
    text
}

fn deploy_on(screen: Screen, deployed: &Deployed) -> String {
    let mut text = String::new();
    if !deployed.stages.is_empty() {
        text = stages(screen, deployed);
        text.push('\n');
    }
    let word = verdicts::deploy_word(deployed.verdict);
    text.push_str(&format!("{word}: {}\n", plain(&deployed.reason)));
    text
}

/// A line a stage and model: nine columns beside each other would not fit a build log.
fn stages(screen: Screen, deployed: &Deployed) -> String {
    let traffic = |name: &str, t: &Traffic| {
        [
            cell(name),
            cell(&number::count(t.requests)),
            cell(&number::count(t.failed())),
            cell(&number::millis(t.latency_p50_ms)),
            cell(&number::millis(t.latency_p95_ms)),
        ]
    };
    let mut rows = Vec::new();
    for stage in &deployed.stages {
        let mut row = vec![
            cell(&format!("{}%", stage.percent)),
            toned(stage.verdict.into(), stage.verdict.as_str()),
            cell(&number::short_duration(stage.ended.since(stage.started))),
        ];
        row.extend(traffic("challenger", &stage.challenger));
        rows.push(row);
        if let Some(champion) = &stage.champion {
            let mut row: Vec<_> = std::iter::repeat_with(|| cell("")).take(3).collect();
            row.extend(traffic("champion", champion));
            rows.push(row);
        }
    }
    screen.table(
        &[
            "share", "verdict", "took", "model", "requests", "failed", "p50 ms", "p95 ms",
        ],
        &[0, 4, 5, 6, 7],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    const LOG: Screen = Screen {
        width: LOG_WIDTH,
        terminal: false,
        colour: false,
    };

    #[test]
    fn the_summary_of_a_promoted_build() {
        insta::assert_snapshot!(summary_on(LOG, &fixtures::promoted()));
    }

    #[test]
    fn a_build_without_steps_of_serin_has_no_summary() {
        assert_eq!(summary_on(LOG, &Records::default()), "");
    }

    #[test]
    fn the_tables_of_a_rejected_build() {
        let validated = fixtures::inconclusive().validated.unwrap();
        let deployed = fixtures::rolled_back().deployed.unwrap();
        insta::assert_snapshot!(format!(
            "{}\n{}",
            validate_on(LOG, &validated),
            deploy_on(LOG, &deployed)
        ));
    }

    #[test]
    fn a_log_is_plain_ascii_and_fits_its_width() {
        let records = fixtures::rolled_back();
        for width in [40, 80, 200] {
            let screen = Screen { width, ..LOG };
            let text = summary_on(screen, &records)
                + &validate_on(screen, records.validated.as_ref().unwrap());
            assert!(text.is_ascii());
            for line in text.lines() {
                assert!(line.len() <= usize::from(width), "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_look_is_a_line_under_its_head() {
        let deployed = fixtures::promoted().deployed.unwrap();
        let lines: Vec<String> = std::iter::once(LIVE_HEAD.to_owned())
            .chain(deployed.looks.iter().take(2).map(live_line))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn colour_comes_only_where_it_is_asked_for() {
        let screen = Screen {
            terminal: true,
            colour: true,
            ..LOG
        };
        assert!(summary_on(screen, &fixtures::promoted()).contains("\u{1b}["));
        assert!(!summary_on(LOG, &fixtures::promoted()).contains('\u{1b}'));
    }

    #[test]
    fn a_hostile_value_cannot_move_the_cursor() {
        let records = fixtures::hostile();
        let text =
            summary_on(LOG, &records) + &validate_on(LOG, records.validated.as_ref().unwrap());
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
        assert!(text.contains("\\u{1b}[2J"), "{text}");
        assert!(text.contains("\\u{202e}txet"), "{text}");
    }
}
