//! What is worth a look in a profile, the worst first.
//!
//! A remark is no verdict: it says what a person would want to have seen before they trust a column.

use super::{error_of, missing, missing_kinds, quoted};
use crate::printable::percent;
use crate::report::number;
use crate::report::terminal::plain;
use crate::workspace::table_profile::{ColumnFigures, TableProfile, ValueType};

/// Something to look at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Remark {
    /// Which column, from 0.
    pub(super) column: usize,
    pub(super) kind: Kind,
    /// From 0 to 100; the worst is the heaviest.
    pub(super) weight: f64,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    AllMissing,
    OneTable,
    Types,
    Label,
    Constant,
    Infinite,
    Mixed,
    Missing,
    Readable,
    IdLike,
    Outliers,
    Padded,
    Forced,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::AllMissing => "all missing",
            Self::OneTable => "not everywhere",
            Self::Types => "types differ",
            Self::Label => "tells the label",
            Self::Constant => "constant",
            Self::Infinite => "infinite",
            Self::Mixed => "mixed types",
            Self::Missing => "missing",
            Self::Readable => "numeric text",
            Self::IdLike => "id-like",
            Self::Outliers => "outliers",
            Self::Padded => "padded",
            Self::Forced => "type forced",
        }
    }
}

/// Remarks of this weight or more are shown as warnings.
pub(super) const HEAVY: f64 = 70.0;

/// All remarks on a table, the heaviest first, equal ones in the order of its columns.
pub(super) fn of(profile: &TableProfile) -> Vec<Remark> {
    let columns = profile.columns.iter().enumerate();
    let mut remarks: Vec<_> = columns.flat_map(|(i, c)| of_column(i, c)).collect();
    remarks.sort_by(|a, b| {
        let heavier = b.weight.total_cmp(&a.weight);
        heavier.then_with(|| (a.column, a.kind).cmp(&(b.column, b.kind)))
    });
    remarks
}

/// Fewer rows than this do not make a column look like an identifier.
const FEW_ROWS: u64 = 20;

/// The remarks on a column, in no order.
pub(super) fn of_column(index: usize, c: &ColumnFigures) -> Vec<Remark> {
    let mut remarks = Vec::new();
    look(c, &mut |kind, weight, text| {
        remarks.push(Remark {
            column: index,
            kind,
            weight,
            text,
        });
    });
    remarks
}

fn look(c: &ColumnFigures, add: &mut impl FnMut(Kind, f64, String)) {
    let rows = c.count + c.missing();
    if c.count == 0 {
        if rows > 0 {
            let kinds = missing_kinds(c);
            add(
                Kind::AllMissing,
                100.0,
                format!("no row has a value ({kinds})"),
            );
        }
        return;
    }
    if let Some(label) = c.label.filter(|l| l.share >= 0.9) {
        let text = format!(
            "tells {} of the label, over {}",
            percent(label.share.min(1.0)),
            number::counted(label.rows, "row")
        );
        add(Kind::Label, 95.0, text);
    }
    let constant = c.count > 1 && c.distinct.count == 1 && c.distinct.error == 0.0;
    if constant {
        let value = only_value(c).map_or_else(String::new, |v| format!(": {}", quoted(&v)));
        add(
            Kind::Constant,
            90.0,
            format!("all values are the same{value}"),
        );
    }
    let share = number::share(c.missing(), rows).unwrap_or(0.0);
    if share >= 0.05 {
        let text = format!(
            "{} of the rows have no value ({})",
            missing(c),
            missing_kinds(c)
        );
        add(Kind::Missing, 20.0 + 60.0 * share, text);
    }
    if !constant {
        id_like(c, add);
    }
    numbers(c, add);
    texts(c, add);
}

/// The value of a column that has one.
fn only_value(c: &ColumnFigures) -> Option<String> {
    let top = c.top.first().map(|v| v.value.clone());
    top.or_else(|| c.numbers.as_ref().map(|n| number::value(n.min)))
        .or_else(|| c.times.as_ref().map(|t| t.min.clone()))
}

fn id_like(c: &ColumnFigures, add: &mut impl FnMut(Kind, f64, String)) {
    let names = match c.kind {
        ValueType::Text => true,
        ValueType::Number => c.numbers.as_ref().is_some_and(|n| n.whole),
        ValueType::Boolean | ValueType::Time => false,
    };
    let enough = c.count as f64 * (1.0 - 3.0 * c.distinct.error);
    if names && c.count >= FEW_ROWS && c.distinct.count as f64 >= enough {
        let text = match error_of(c.distinct) {
            None => "every value is another one, as of an identifier".into(),
            Some(error) => {
                format!(
                    "about every value is another one, as of an identifier (standard error {error})"
                )
            }
        };
        add(Kind::IdLike, 55.0, text);
    }
}

fn numbers(c: &ColumnFigures, add: &mut impl FnMut(Kind, f64, String)) {
    let Some(n) = &c.numbers else { return };
    if n.infinite > 0 {
        let values = number::counted(n.infinite, "infinite value");
        let text = format!("{values}, which no other figure counts");
        add(Kind::Infinite, 85.0, text);
    }
    let [low, .., high] = n.quantiles;
    let span = high - low;
    let (below, above) = ((low - n.min) / span, (n.max - high) / span);
    let farthest = below.max(above);
    if span > 0.0 && farthest > 3.0 {
        let (what, value) = if above >= below {
            ("most", n.max)
        } else {
            ("least", n.min)
        };
        let text = format!(
            "the {what} is {}, and 98% of the values lie from {} to {}",
            number::value(value),
            number::value(low),
            number::value(high)
        );
        add(Kind::Outliers, 40.0 + 5.0 * farthest.log10().min(5.0), text);
    }
}

fn texts(c: &ColumnFigures, add: &mut impl FnMut(Kind, f64, String)) {
    let place = c.forced_by.as_ref().map(|forced| {
        format!(
            "{}, not {}, for {} at {}",
            c.kind.as_str(),
            forced.instead_of.as_str(),
            quoted(&forced.value),
            plain(&forced.place)
        )
    });
    let Some(t) = &c.texts else {
        if let Some(place) = place {
            add(Kind::Forced, 50.0, place);
        }
        return;
    };
    let kinds = [
        (t.numbers, "numbers"),
        (t.booleans, "booleans"),
        (t.times, "times"),
    ];
    // The first of equal ones.
    let (fit, what) = kinds
        .into_iter()
        .rev()
        .max_by_key(|k| k.0)
        .unwrap_or((0, ""));
    let share = number::share(fit, c.count).unwrap_or(0.0);
    if fit == c.count {
        let example = c.top.first().map(|v| format!(", as {}", quoted(&v.value)));
        let text = format!("all texts read as {what}{}", example.unwrap_or_default());
        add(Kind::Readable, 60.0, text);
    } else if fit > 0 && (place.is_some() || share >= 0.5) {
        let reading = format!(
            "{} of the texts read as {what}",
            number::percent(fit, c.count)
        );
        let text = match place {
            Some(place) => format!("{reading}; {place}"),
            None => reading,
        };
        add(Kind::Mixed, 60.0 + 25.0 * share, text);
    } else if let Some(place) = place {
        add(Kind::Forced, 50.0, place);
    }
    if t.padded > 0 {
        let text = format!(
            "{} with spaces around them",
            number::counted(t.padded, "value")
        );
        add(Kind::Padded, 45.0, text);
    }
}
