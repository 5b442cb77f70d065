//! The test rows apart by the values of a column.

use std::collections::BTreeMap;

use super::table::Cell;

/// At most so many slices a column, the largest; numbers of more values are cut at their quartiles.
const MOST: usize = 20;

/// The rows of one value, or of one quarter of the numbers.
#[derive(Debug, PartialEq)]
pub(super) struct Slice {
    pub(super) value: String,
    pub(super) rows: Vec<usize>,
}

/// The slices of a column: numbers by rising value, texts by name, rows without a value last.
pub(super) fn of(cells: &[Cell]) -> Vec<Slice> {
    let mut missing = Vec::new();
    let mut texts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut numbers: Vec<(f64, usize)> = Vec::new();
    for (row, cell) in cells.iter().enumerate() {
        match cell {
            Cell::Missing => missing.push(row),
            Cell::Text(text) => texts.entry(text).or_default().push(row),
            Cell::Number(number) => numbers.push((*number, row)),
        }
    }
    let mut slices: Vec<_> = texts
        .into_iter()
        .map(|(value, rows)| Slice {
            value: value.to_owned(),
            rows,
        })
        .collect();
    slices.extend(of_numbers(numbers));
    while slices.len() > MOST {
        // Of the smallest the last by name goes first.
        let smallest = (0..slices.len())
            .rev()
            .min_by_key(|&i| slices[i].rows.len());
        slices.remove(smallest.unwrap_or(0));
    }
    if !missing.is_empty() {
        slices.push(Slice {
            value: "(missing)".to_owned(),
            rows: missing,
        });
    }
    slices
}

fn of_numbers(mut numbers: Vec<(f64, usize)>) -> Vec<Slice> {
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let by_value = numbers.chunk_by(|a, b| a.0 == b.0);
    let rows = |part: &[(f64, usize)]| part.iter().map(|(_, row)| *row).collect();
    if by_value.clone().count() <= MOST {
        return by_value
            .map(|part| Slice {
                value: part[0].0.to_string(),
                rows: rows(part),
            })
            .collect();
    }
    let mut slices = Vec::new();
    let mut rest = &numbers[..];
    for quarters_left in (1..=4).rev() {
        let at = rest.len() / quarters_left;
        let Some(edge) = at.checked_sub(1).and_then(|last| rest.get(last)) else {
            continue;
        };
        // Equal numbers stay together.
        let (part, others) = rest.split_at(rest.partition_point(|n| n.0 <= edge.0));
        slices.push(Slice {
            value: format!("{} to {}", part[0].0, edge.0),
            rows: rows(part),
        });
        rest = others;
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(slices: &[Slice]) -> Vec<(&str, usize)> {
        slices.iter().map(|s| (&*s.value, s.rows.len())).collect()
    }

    #[test]
    fn texts_and_gaps_are_slices_of_their_own() {
        let cells = [
            Cell::Text("b".into()),
            Cell::Missing,
            Cell::Text("a".into()),
            Cell::Text("b".into()),
        ];
        assert_eq!(named(&of(&cells)), [("a", 1), ("b", 2), ("(missing)", 1)]);
    }

    #[test]
    fn numbers_of_many_values_are_cut_at_their_quartiles() {
        let cells: Vec<_> = (0..100).map(|i| Cell::Number(f64::from(i))).collect();
        let slices = of(&cells);
        let expected = [
            ("0 to 24", 25),
            ("25 to 49", 25),
            ("50 to 74", 25),
            ("75 to 99", 25),
        ];
        assert_eq!(named(&slices), expected);
        let few: Vec<_> = (0..100).map(|i| Cell::Number(f64::from(i % 3))).collect();
        assert_eq!(named(&of(&few)), [("0", 34), ("1", 33), ("2", 33)]);
    }

    #[test]
    fn the_largest_are_kept() {
        let cells: Vec<_> = (0..30)
            .flat_map(|i| vec![Cell::Text(format!("v{i:02}")); if i == 7 { 1 } else { 2 }])
            .collect();
        let slices = of(&cells);
        assert_eq!(slices.len(), 20);
        assert!(slices.iter().all(|s| s.value != "v07"));
    }

    proptest! {
        #[test]
        fn no_row_is_in_two_slices(values in prop::collection::vec(-30i32..30, 0..200)) {
            let cells: Vec<_> = values.iter().map(|v| Cell::Number(f64::from(*v))).collect();
            let mut rows: Vec<_> = of(&cells).into_iter().flat_map(|s| s.rows).collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..values.len()).collect::<Vec<_>>());
        }
    }
}
