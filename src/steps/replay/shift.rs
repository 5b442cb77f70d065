//! Changes of rows: a column moved, scaled, set or left out, in all rows or in a share of them.

use std::fmt;
use std::str::FromStr;

use serde_json::{Number, Value};

use crate::error::Input;
use crate::settings::did_you_mean;

/// A change of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shift {
    column: String,
    change: Change,
    /// As it was written.
    text: String,
    /// Of the rows that are changed.
    share: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Change {
    Add(f64),
    Times(f64),
    Is(Value),
    Missing,
}

const EXPECTED: &str =
    "expected COLUMN=+30%, =-5, =*2, =/2, =is:VALUE or =missing:SHARE, perhaps with @SHARE";

impl FromStr for Shift {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (column, written) = text.split_once('=').ok_or(EXPECTED)?;
        let share_of = |text: &str| {
            let share = text.parse().ok();
            share.filter(|share: &f64| *share > 0.0 && *share <= 1.0)
        };
        let (change, share) = match written.rsplit_once('@') {
            Some((change, share)) => (change, share_of(share).ok_or(EXPECTED)?),
            None => (written, 1.0),
        };
        let number = |text: &str| text.parse().ok().filter(|x: &f64| x.is_finite());
        let (change, share) = if let Some(missing) = change.strip_prefix("missing") {
            match missing.strip_prefix(':') {
                Some(of) => (Change::Missing, share_of(of).ok_or(EXPECTED)?),
                None if missing.is_empty() => (Change::Missing, share),
                None => return Err(EXPECTED.to_owned()),
            }
        } else if let Some(value) = change.strip_prefix("is:") {
            let plain = serde_json::from_str(value)
                .ok()
                .filter(|v: &Value| !v.is_object() && !v.is_array());
            (Change::Is(plain.unwrap_or_else(|| value.into())), share)
        } else if let Some(percent) = change.strip_suffix('%') {
            if !percent.starts_with(['+', '-']) {
                return Err(EXPECTED.to_owned());
            }
            let by = number(percent).ok_or(EXPECTED)?;
            (Change::Times(1.0 + by / 100.0), share)
        } else if let Some(by) = change.strip_prefix('*') {
            (Change::Times(number(by).ok_or(EXPECTED)?), share)
        } else if let Some(by) = change.strip_prefix('/') {
            let by = number(by).filter(|by| *by != 0.0).ok_or(EXPECTED)?;
            (Change::Times(1.0 / by), share)
        } else if change.starts_with(['+', '-']) {
            (Change::Add(number(change).ok_or(EXPECTED)?), share)
        } else {
            return Err(EXPECTED.to_owned());
        };
        match column.is_empty() {
            true => Err(EXPECTED.to_owned()),
            false => Ok(Self {
                column: column.to_owned(),
                change,
                text: written.to_owned(),
                share,
            }),
        }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.column, self.text)
    }
}

impl Shift {
    /// # Errors
    /// [`Input`] for a column that no row has, and for a number's change of a column without numbers.
    pub(super) fn check(&self, instances: &[Value]) -> Result<(), Input> {
        let mut cells = instances.iter().filter_map(|row| row.get(&self.column));
        let needs_number = matches!(self.change, Change::Add(_) | Change::Times(_));
        match cells.next() {
            None => {
                let first = instances.first().and_then(Value::as_object);
                let names = first.into_iter().flatten().map(|(name, _)| name.as_str());
                let error = Input::new(format!(
                    "`--shift {}={}`: no row has a column `{}`",
                    self.column, self.text, self.column
                ));
                Err(match did_you_mean(&self.column, names) {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
            Some(first) if needs_number && !first.is_number() && !cells.any(Value::is_number) => {
                Err(Input::new(format!(
                    "`--shift {}={}`: the column holds no numbers",
                    self.column, self.text
                ))
                .hint("`is:VALUE` sets it, and `missing:SHARE` leaves it out"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Changes a row; `draw` is from 0 to 1, and another one for each row and change.
    pub(super) fn apply(&self, row: &mut Value, draw: f64) {
        if draw >= self.share {
            return;
        }
        let Some(fields) = row.as_object_mut() else {
            return;
        };
        let moved = |number: f64| match &self.change {
            Change::Add(by) => number + by,
            Change::Times(by) => number * by,
            _ => number,
        };
        match &self.change {
            Change::Missing => {
                fields.remove(&self.column);
            }
            Change::Is(value) => {
                fields.insert(self.column.clone(), value.clone());
            }
            Change::Add(_) | Change::Times(_) => {
                if let Some(Value::Number(number)) = fields.get_mut(&self.column)
                    && let Some(to) = number.as_f64().and_then(|x| Number::from_f64(moved(x)))
                {
                    *number = to;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn applied(shift: &str, draw: f64) -> Value {
        let mut row = json!({"a": 10.0, "b": "x"});
        shift.parse::<Shift>().unwrap().apply(&mut row, draw);
        row
    }

    #[test]
    fn each_change_does_what_it_says() {
        for (shift, expected) in [
            ("a=+30%", json!({"a": 13.0, "b": "x"})),
            ("a=-50%", json!({"a": 5.0, "b": "x"})),
            ("a=*2", json!({"a": 20.0, "b": "x"})),
            ("a=/4", json!({"a": 2.5, "b": "x"})),
            ("a=-3", json!({"a": 7.0, "b": "x"})),
            ("a=missing:0.5", json!({"b": "x"})),
            ("b=is:y", json!({"a": 10.0, "b": "y"})),
            ("a=is:3@0.5", json!({"a": 3, "b": "x"})),
        ] {
            assert_eq!(applied(shift, 0.4), expected, "{shift}");
        }
        for shift in ["a=*2@0.3", "a=missing:0.3"] {
            assert_eq!(applied(shift, 0.4), json!({"a": 10.0, "b": "x"}), "{shift}");
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for wrong in [
            "a",
            "a=",
            "=+1",
            "a=30%",
            "a=*x",
            "a=/0",
            "a=missing:2",
            "a=missing0.1",
            "a=+1@0",
            "a=2",
        ] {
            assert!(wrong.parse::<Shift>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_told_with_the_nearest() {
        let rows = [json!({"minutes": 1.0, "plan": "a"})];
        let check = |text: &str| text.parse::<Shift>().unwrap().check(&rows);
        let error = check("minuts=*2").unwrap_err();
        assert!(error.hint.unwrap().contains("minutes"));
        assert!(check("plan=*2").is_err());
        assert!(check("plan=is:b").is_ok());
    }
}
