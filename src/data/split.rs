//! Which rows are for training and which for the test.
//!
//! By hash, a row is a test row when `hash / 2^53 < test`, where `hash` is the first 53 bits, big-endian,
//! of the sha256 of: the text `serin/split/v1`, a zero byte, the seed as eight bytes little-endian, and for each
//! cell of the key, in the order of `split.by`, its text; without a key for each cell of the row, in the
//! order of the columns' names, the name and the text. Each text is preceded by its length in bytes as eight
//! bytes little-endian; a missing cell is the empty text. So neither the order of rows or columns nor the machine
//! plays a part, a row stays where it is while others come and go, and equal keys or rows stay together.

use sha2::{Digest, Sha256};

use super::frame::{Frame, FrameColumn};
use crate::config::{Split, SplitRule};

/// For each row of a frame, whether it is a test row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub test: Vec<bool>,
}

impl Partition {
    /// Divides a frame; `None` where a column that the rule names is not there.
    pub(crate) fn of(frame: &Frame, split: &Split) -> Option<Self> {
        let rows = 0..frame.rows();
        let test = match &split.rule {
            SplitRule::Hash { test, by } => {
                let key = by
                    .iter()
                    .map(|name| frame.columns.get(frame.find(name)?))
                    .collect::<Option<Vec<_>>>()?;
                let chooser = Chooser::new(frame, key, *test, split.seed);
                let mut bytes = Vec::new();
                rows.map(|row| chooser.is_test(row, &mut bytes)).collect()
            }
            SplitRule::Time { column, test_from } => {
                let column = frame.columns.get(frame.find(column)?)?;
                rows.map(|row| {
                    let time = frame.value(column, row).unwrap_or_default();
                    time.trim() >= test_from.as_str()
                })
                .collect()
            }
        };
        Some(Self { test })
    }

    pub(crate) fn is_test(&self, row: usize) -> bool {
        self.test.get(row).copied().unwrap_or(false)
    }

    /// The number of training and of test rows.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let test = self.test.iter().filter(|test| **test).count();
        (self.test.len() - test, test)
    }
}

struct Chooser<'a> {
    frame: &'a Frame<'a>,
    columns: Vec<&'a FrameColumn>,
    /// Whether the columns' names are hashed too: where they are the whole row.
    named: bool,
    /// The hash of everything before the cells.
    start: Sha256,
    share: f64,
}

impl<'a> Chooser<'a> {
    fn new(frame: &'a Frame<'a>, key: Vec<&'a FrameColumn>, share: f64, seed: u64) -> Self {
        let named = key.is_empty();
        let mut columns = key;
        if named {
            columns = frame.columns.iter().collect();
            columns.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let start = Sha256::new()
            .chain_update(b"serin/split/v1\0")
            .chain_update(seed.to_le_bytes());
        Self {
            frame,
            columns,
            named,
            start,
            share,
        }
    }

    /// `bytes` is room to work in.
    fn is_test(&self, row: usize, bytes: &mut Vec<u8>) -> bool {
        bytes.clear();
        for column in &self.columns {
            if self.named {
                put(bytes, &column.name);
            }
            put(bytes, &self.frame.value(column, row).unwrap_or_default());
        }
        let mut first = [0; 8];
        let hash = self.start.clone().chain_update(&bytes);
        for (to, from) in first.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        // The upper 53 bits, which a double holds exactly.
        let unit = (u64::from_be_bytes(first) >> 11) as f64 / (1u64 << 53) as f64;
        unit < self.share
    }
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JoinKind, Spot};
    use crate::data::join::join;
    use crate::data::table::tests::table;
    use crate::error::Place;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn spot(text: &str) -> Spot<String> {
        Spot {
            value: text.to_owned(),
            place: Place::File("serin.yaml".into()),
        }
    }

    fn split(text: &str, rule: SplitRule, seed: u64) -> Option<Vec<bool>> {
        let tables = [table("t", text)];
        let frame = join(&tables, &[], JoinKind::Inner).0.unwrap();
        Some(Partition::of(&frame, &Split { seed, rule })?.test)
    }

    fn by(by: &[&str]) -> SplitRule {
        SplitRule::Hash {
            test: 0.2,
            by: by.iter().map(|name| spot(name)).collect(),
        }
    }

    fn numbered(rows: impl IntoIterator<Item = u32>) -> String {
        let rows = rows.into_iter().map(|n| format!("c{n},{}\n", n % 7));
        "k,x\n".to_owned() + &rows.collect::<String>()
    }

    #[test]
    fn the_choice_never_changes() {
        // The same with Python's hashlib.
        let test = split(&numbered(0..5000), by(&["k"]), 100).unwrap();
        let chosen: Vec<_> = (0..5000).filter(|n| test[*n]).take(8).collect();
        assert_eq!(test.iter().filter(|test| **test).count(), 1014);
        assert_eq!(chosen, [2, 9, 11, 17, 26, 31, 37, 39]);
    }

    #[test]
    fn neither_the_order_of_columns_nor_a_copy_of_a_row_matters() {
        let a = split("k,x\n1,a\n2,b\n1,a\n3,\n", by(&[]), 1).unwrap();
        let b = split("x,k\na,1\nb,2\na,1\n,3\n", by(&[]), 1).unwrap();
        assert_eq!(a, b);
        assert_eq!(a[0], a[2]);
    }

    #[test]
    fn time_divides_at_a_date() {
        let rule = SplitRule::Time {
            column: spot("m"),
            test_from: "2026-02-01".to_owned(),
        };
        let text = "m\n2026-01-31\n2026-02-01\n2026-02-01T10:00:00Z\n2025-12-31\n";
        assert_eq!(split(text, rule, 0).unwrap(), [false, true, true, false]);
        assert_eq!(split("k\n1\n", by(&["z"]), 0), None);
    }

    proptest! {
        #[test]
        fn the_order_of_rows_plays_no_part(
            order in Just((0..60).collect::<Vec<u32>>()).prop_shuffle(),
            seed: u64,
            whole: bool,
        ) {
            let rule = || if whole { by(&[]) } else { by(&["k"]) };
            let sorted = split(&numbered(0..60), rule(), seed).unwrap();
            let test = split(&numbered(order.clone()), rule(), seed).unwrap();
            let found: BTreeMap<u32, bool> = order.into_iter().zip(test).collect();
            prop_assert_eq!(found.into_values().collect::<Vec<_>>(), sorted);
        }
    }
}
