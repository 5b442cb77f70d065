//! Points to SVG: histograms, bars, lines over time and intervals.
//!
//! A plotting crate draws an image with its own colours and fonts in pixels. These plots stand inside a page:
//! they take colours from its CSS variables, so that dark mode and print need nothing more, scale by their
//! `viewBox`, and tell title and description to a screen reader. For four forms that is less than plotters
//! would need to be told. Text of the user never stands in an attribute.

pub(super) mod over_time;

use maud::{Markup, html};

use super::number;

/// A point in the coordinates of the `viewBox`.
pub(super) type Point = (f64, f64);

/// What is heard in place of a plot.
pub(super) struct Label<'a> {
    /// Unique on the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) description: &'a str,
}

/// A linear scale from values to coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) domain: (f64, f64),
    pub(super) range: (f64, f64),
}

impl Scale {
    /// The coordinate of a value; the middle of the range where the domain is a single value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let (low, high) = self.domain;
        let share = (value - low) / (high - low);
        let share = if share.is_finite() { share } else { 0.5 };
        self.range.0 + share * (self.range.1 - self.range.0)
    }
}

/// Round values (1, 2 or 5 times a power of ten apart), about `about` of them, from `low` or below to `high` or above.
pub(super) fn ticks(low: f64, high: f64, about: u32) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return vec![low];
    }
    let raw = span / f64::from(about.max(1));
    let power = 10f64.powf(raw.log10().floor());
    let step = match raw / power {
        r if r <= 1.0 => power,
        r if r <= 2.0 => 2.0 * power,
        r if r <= 5.0 => 5.0 * power,
        _ => 10.0 * power,
    };
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    // Where the values are too close together for their size, steps would not change them.
    let steps = (last - first).clamp(0.0, f64::from(about) * 4.0) as u32;
    (0..=steps).map(|i| (first + f64::from(i)) * step).collect()
}

/// The outline over a histogram's bins: two points a bin, left to right.
pub(super) fn outline(shares: &[f64], x: Scale, y: Scale) -> Vec<Point> {
    shares
        .iter()
        .enumerate()
        .flat_map(|(i, share)| {
            let top = y.at(*share);
            [(x.at(i as f64), top), (x.at((i + 1) as f64), top)]
        })
        .collect()
}

/// How the first, second and third of several are drawn over each other; a legend has the same.
const OVERLAY: [&str; 3] = ["area", "edge", "edge third"];

/// Histograms over each other, each with the shares of its bins: an area, then lines. `ends` stand at
/// the ends of the axis.
pub(super) fn overlay(label: &Label<'_>, series: &[Vec<f64>], ends: (&str, &str)) -> Markup {
    const WIDTH: f64 = 280.0;
    const BASE: f64 = 84.0;
    let y = Scale {
        domain: (0.0, series.iter().flatten().copied().fold(0.0, f64::max)),
        range: (BASE, 6.0),
    };
    let line = |shares: &[f64]| {
        let x = Scale {
            domain: (0.0, shares.len() as f64),
            range: (1.0, WIDTH - 1.0),
        };
        path(&closed(&outline(shares, x, y), BASE))
    };
    drawing(
        label,
        "histogram",
        (WIDTH, 102.0),
        html! {
            @for (shares, class) in series.iter().zip(OVERLAY) { path class=(class) d=(line(shares)) {} }
            path.axis d=(path(&[(0.0, BASE), (WIDTH, BASE)])) {}
            text x="0" y="99" { (ends.0) }
            text.end x=(WIDTH) y="99" { (ends.1) }
        },
    )
}

/// Brings a line down to the base at both of its ends.
fn closed(line: &[Point], base: f64) -> Vec<Point> {
    let (Some(first), Some(last)) = (line.first(), line.last()) else {
        return Vec::new();
    };
    let mut points = vec![(first.0, base)];
    points.extend(line);
    points.push((last.0, base));
    points
}

/// One value of a category in several tables.
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) bars: Vec<Bar>,
    /// The number written at the end.
    pub(super) text: String,
}

/// A value in one table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bar {
    /// The value's share, from 0 to 1.
    Share(f64),
    /// It is not known, which is said in the place of the bar.
    NotListed,
    Nothing,
}

/// Bars from the left, for each value one bar a table under each other.
pub(super) fn groups(label: &Label<'_>, groups: &[Group<'_>]) -> Markup {
    let bars = groups.iter().map(|g| g.bars.len()).max().unwrap_or(1);
    let all = || groups.iter().flat_map(|g| &g.bars);
    let words = all().any(|bar| *bar == Bar::NotListed);
    let thick = match bars {
        0 | 1 => 11.0,
        // As high as the words are.
        _ if words => 9.0,
        _ => 6.0,
    };
    let row = thick * bars as f64 + 8.0;
    let shares = all().filter_map(|bar| match bar {
        Bar::Share(share) => Some(*share),
        Bar::NotListed | Bar::Nothing => None,
    });
    let x = Scale {
        domain: (0.0, shares.fold(f64::MIN_POSITIVE, f64::max)),
        range: (0.0, 132.0),
    };
    drawing(
        label,
        "bars",
        (280.0, row * groups.len() as f64 + 2.0),
        html! {
            path.axis d=(path(&[(104.0, 0.0), (104.0, row * groups.len() as f64)])) {}
            @for (i, group) in groups.iter().enumerate() {
                @let top = i as f64 * row;
                @let text = coordinate(top + row / 2.0 + 4.0);
                text.soft[group.name.is_empty()] x="0" y=(text) { (shortened(group.name, 14)) }
                @for (j, (bar, class)) in group.bars.iter().zip(OVERLAY).enumerate() {
                    @let y = top + 4.0 + j as f64 * thick;
                    @match bar {
                        Bar::Share(share) => rect class=(class) x="104" y=(coordinate(y)) height=(thick - 1.0) width=(coordinate(x.at(*share))) {},
                        Bar::NotListed => text.soft.small x="107" y=(coordinate(y + thick - 2.0)) { "not listed" },
                        Bar::Nothing => {},
                    }
                }
                text.end.soft x="280" y=(text) { (group.text) }
            }
        },
    )
}

/// A name cut to a width in Latin letters, where CJK letters and emoji count double.
fn shortened(name: &str, width: usize) -> String {
    if name.is_empty() {
        return "(empty)".into();
    }
    let letter_width = |c: char| if c < '\u{1100}' { 1 } else { 2 };
    if name.chars().map(letter_width).sum::<usize>() <= width {
        return name.to_owned();
    }
    let mut used = 0;
    let mut text: String = name
        .chars()
        .take_while(|c| {
            used += letter_width(*c);
            used < width
        })
        .collect();
    text.push('\u{2026}');
    text
}

/// Which of two models a line is about; it picks colour and dash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    Challenger,
    Champion,
}

impl Model {
    fn class(self) -> &'static str {
        match self {
            Self::Challenger => "challenger",
            Self::Champion => "champion",
        }
    }
}

/// One line of a panel: minutes since the start, and the value where there is one.
pub(super) struct Series {
    pub(super) model: Model,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A small plot over time.
pub(super) struct Panel<'a> {
    pub(super) label: Label<'a>,
    /// What the axes show, with units.
    pub(super) y_label: &'a str,
    pub(super) x_label: &'a str,
    pub(super) series: Vec<Series>,
    /// The axis goes at least this far.
    pub(super) at_least: f64,
    /// A value holds until the next point, rather than leading to it.
    pub(super) steps: bool,
    /// Where a stage began, in minutes since the start.
    pub(super) stages: &'a [f64],
}

/// The runs of points without a hole; a minute that is missing is a hole like a missing value.
pub(super) fn runs(
    points: &[(f64, Option<f64>)],
    x: Scale,
    y: Scale,
    steps: bool,
) -> Vec<Vec<Point>> {
    let mut runs: Vec<Vec<Point>> = Vec::new();
    let mut before: Option<f64> = None;
    for (minute, value) in points {
        let Some(value) = value else {
            before = None;
            continue;
        };
        let point = (x.at(*minute), y.at(*value));
        match runs.last_mut() {
            Some(run) if before.is_some_and(|b| minute - b < 1.5) => {
                if let Some(last) = run.last().filter(|last| steps && last.1 != point.1) {
                    run.push((point.0, last.1));
                }
                run.push(point);
            }
            _ => runs.push(vec![point]),
        }
        before = Some(*minute);
    }
    runs
}

/// Lines through more points than this are drawn thin, so that one does not hide the other.
const DENSE: usize = 120;

/// A panel of lines over time.
pub(super) fn panel(panel: &Panel<'_>) -> Markup {
    const SIZE: (f64, f64) = (420.0, 190.0);
    const LEFT: f64 = 46.0;
    const RIGHT: f64 = 410.0;
    const TOP: f64 = 26.0;
    const BOTTOM: f64 = 146.0;
    let values = || panel.series.iter().flat_map(|s| &s.points);
    let end = values().map(|p| p.0).fold(1.0, f64::max);
    let most = values().filter_map(|p| p.1).fold(panel.at_least, f64::max);
    let y_ticks = ticks(0.0, most, 4);
    let x_ticks = ticks(0.0, end, 6);
    let x = Scale {
        domain: (0.0, end),
        range: (LEFT, RIGHT),
    };
    let y = Scale {
        domain: (0.0, y_ticks.last().copied().unwrap_or(most)),
        range: (BOTTOM, TOP),
    };
    drawing(
        &panel.label,
        "panel",
        SIZE,
        html! {
            text.strong x="0" y="12" { (panel.y_label) }
            @for tick in &y_ticks {
                path.grid d=(path(&[(LEFT, y.at(*tick)), (RIGHT, y.at(*tick))])) {}
                text.end.soft x=(LEFT - 6.0) y=(coordinate(y.at(*tick) + 4.0)) { (number::value(*tick)) }
            }
            @for stage in panel.stages.iter().filter(|s| (0.0..=end).contains(*s)) {
                path.stage d=(path(&[(x.at(*stage), TOP), (x.at(*stage), BOTTOM)])) {}
            }
            path.axis d=(path(&[(LEFT, BOTTOM), (RIGHT, BOTTOM)])) {}
            @for tick in x_ticks.iter().filter(|t| **t <= end && t.fract() == 0.0) {
                path.axis d=(path(&[(x.at(*tick), BOTTOM), (x.at(*tick), BOTTOM + 4.0)])) {}
                text.middle.soft x=(coordinate(x.at(*tick))) y=(BOTTOM + 17.0) { (number::value(*tick)) }
            }
            text.middle.soft x=((LEFT + RIGHT) / 2.0) y="184" { (panel.x_label) }
            @for series in panel.series.iter().rev() {
                @let dense = series.points.len() > DENSE && !panel.steps;
                @for run in runs(&series.points, x, y, panel.steps) {
                    @match run.as_slice() {
                        [alone] => circle class=(series.model.class()) cx=(coordinate(alone.0)) cy=(coordinate(alone.1)) r="2.5" {},
                        run => path class={ "line " (series.model.class()) @if dense { " dense" } } d=(path(run)) {},
                    }
                }
            }
        },
    )
}

/// A value and the ends of its interval.
#[derive(Clone, Copy)]
pub(super) struct Whisker {
    pub(super) model: Model,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Intervals under each other on one scale: the challenger's value as a dot, the champion's as a square.
pub(super) fn intervals(label: &Label<'_>, whiskers: &[Whisker]) -> Markup {
    const WIDTH: f64 = 160.0;
    const ROW: f64 = 12.0;
    let low = whiskers.iter().map(|w| w.low).fold(f64::INFINITY, f64::min);
    let high = whiskers
        .iter()
        .map(|w| w.high)
        .fold(f64::NEG_INFINITY, f64::max);
    let x = Scale {
        domain: (low, high),
        range: (6.0, WIDTH - 6.0),
    };
    drawing(
        label,
        "intervals",
        (WIDTH, ROW * whiskers.len() as f64 + 2.0),
        html! {
            @for (i, w) in whiskers.iter().enumerate() {
                @let middle = i as f64 * ROW + 7.0;
                @let at = x.at(w.value);
                path class={ "line " (w.model.class()) } d=(path(&[(x.at(w.low), middle), (x.at(w.high), middle)])) {}
                @match w.model {
                    Model::Challenger => circle.challenger cx=(coordinate(at)) cy=(middle) r="4" {},
                    Model::Champion => rect.champion x=(coordinate(at - 3.5)) y=(middle - 3.5) width="7" height="7" {},
                }
            }
        },
    )
}

fn drawing(label: &Label<'_>, class: &str, (width, height): Point, content: Markup) -> Markup {
    html! {
        svg class={ "plot " (class) } viewBox={ "0 0 " (coordinate(width)) " " (coordinate(height)) } role="img"
            aria-labelledby={ (label.id) "-title " (label.id) "-desc" } {
            title id={ (label.id) "-title" } { (label.title) }
            desc id={ (label.id) "-desc" } { (label.description) }
            (content)
        }
    }
}

/// The `d` of a path through the points.
fn path(points: &[Point]) -> String {
    let mut d = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        d.push(if i == 0 { 'M' } else { 'L' });
        d.push_str(&coordinate(*x));
        d.push(' ');
        d.push_str(&coordinate(*y));
    }
    d
}

/// A coordinate to a tenth, as short as it gets.
fn coordinate(v: f64) -> String {
    let tenths = if v.is_finite() {
        (v * 10.0).round()
    } else {
        0.0
    };
    // Adding zero turns -0 into 0.
    format!("{}", tenths / 10.0 + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Scale = Scale {
        domain: (0.0, 10.0),
        range: (0.0, 100.0),
    };

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(ticks(0.0, 100.0, 4), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(0.0, 23.0, 4), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(ticks(-3.0, 3.0, 4), [-4.0, -2.0, 0.0, 2.0, 4.0]);
        assert_eq!(ticks(5.0, 5.0, 4), [5.0]);
        assert_eq!(ticks(0.0, f64::INFINITY, 4), [0.0]);
        assert!(ticks(1e17, 1e17 + 32.0, 4).len() < 20);
    }

    proptest::proptest! {
        #[test]
        fn ticks_are_few_and_hold_the_range(low in -1e9..1e9f64, span in 1e-3..1e9f64) {
            let ticks = ticks(low, low + span, 5);
            proptest::prop_assert!((2..=8).contains(&ticks.len()), "{ticks:?}");
            let slack = span * 1e-6;
            proptest::prop_assert!(ticks[0] <= low + slack);
            proptest::prop_assert!(ticks[ticks.len() - 1] >= low + span - slack);
        }
    }

    #[test]
    fn an_outline_has_two_points_a_bin() {
        let x = Scale {
            domain: (0.0, 2.0),
            range: (0.0, 20.0),
        };
        let points = outline(&[0.25, 0.75], x, UNIT);
        assert_eq!(points, [(0.0, 2.5), (10.0, 2.5), (10.0, 7.5), (20.0, 7.5)]);
    }

    #[test]
    fn a_missing_minute_breaks_the_line() {
        let points = [
            (0.0, Some(1.0)),
            (1.0, Some(2.0)),
            (2.0, None),
            (3.0, Some(1.0)),
            (7.0, Some(4.0)),
        ];
        assert_eq!(
            runs(&points, UNIT, UNIT, false),
            [
                vec![(0.0, 10.0), (10.0, 20.0)],
                vec![(30.0, 10.0)],
                vec![(70.0, 40.0)]
            ]
        );
    }

    #[test]
    fn a_step_holds_its_value_until_the_next_minute() {
        let points = [(0.0, Some(5.0)), (1.0, Some(5.0)), (2.0, Some(10.0))];
        assert_eq!(
            runs(&points, UNIT, UNIT, true),
            [vec![(0.0, 50.0), (10.0, 50.0), (20.0, 50.0), (20.0, 100.0)]]
        );
    }

    #[test]
    fn odd_values_draw_something_finite() {
        let label = Label {
            id: "p",
            title: "t",
            description: "d",
        };
        let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN, f64::MAX];
        for a in odd {
            for b in odd {
                let drawn = [
                    overlay(&label, &[vec![a, b], vec![], vec![b]], ("", "")),
                    groups(
                        &label,
                        &[Group {
                            name: "",
                            bars: vec![Bar::Share(a), Bar::NotListed, Bar::Share(b)],
                            text: String::new(),
                        }],
                    ),
                    intervals(
                        &label,
                        &[Whisker {
                            model: Model::Champion,
                            value: a,
                            low: a,
                            high: b,
                        }],
                    ),
                    panel(&Panel {
                        label: Label { ..label },
                        y_label: "",
                        x_label: "",
                        series: vec![Series {
                            model: Model::Challenger,
                            points: vec![(0.0, Some(a)), (1.0, Some(b))],
                        }],
                        at_least: 1.0,
                        steps: false,
                        stages: &[a, b],
                    }),
                ];
                for svg in drawn {
                    let svg = svg.into_string();
                    for d in svg.split(" d=\"").skip(1) {
                        let d = d.split('"').next().unwrap();
                        assert!(!d.contains("NaN") && !d.contains("inf"), "{d}");
                    }
                }
            }
        }
    }

    #[test]
    fn long_names_are_cut_by_their_width() {
        assert_eq!(shortened("", 14), "(empty)");
        assert_eq!(shortened("international_plan", 14), "international\u{2026}");
        assert_eq!(shortened("顧客番号顧客番号", 14), "顧客番号顧客\u{2026}");
        assert_eq!(shortened("yes", 14), "yes");
    }
}
