//! What the tables are like: types, names that tell rows apart, the label, and the score of the trivial predictor.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use anyhow::Result;

use crate::config::{JoinKind, Split, SplitRule, Spot};
use crate::data::frame::Frame;
use crate::data::join::join;
use crate::data::label::{Label, Target};
use crate::data::read;
use crate::data::schema;
use crate::data::split::Partition;
use crate::data::table::{Column, Table};
use crate::data::types;
use crate::error::{Input, Place};
use crate::settings::did_you_mean;
use crate::workspace::records::{ColumnType, Task};

/// The share of test rows.
pub(super) const TEST: f64 = 0.2;

/// The first seed of the split that is tried, and how many after it.
const SEEDS: std::ops::Range<u64> = 100..600;

/// A table that was opened, with its path.
pub(super) type Seen<'a> = (&'a Path, read::Table);

/// A column that is left out of the features, and why.
pub(super) struct Dropped {
    pub(super) column: String,
    pub(super) why: &'static str,
    /// It tells every row apart.
    pub(super) unique: bool,
}

/// All that the files say.
pub(super) struct Look {
    pub(super) tables: Vec<Table>,
    pub(super) label: String,
    pub(super) kind: ColumnType,
    pub(super) task: Task,
    /// Sorted; none for a number.
    pub(super) classes: Vec<String>,
    pub(super) positive: Option<String>,
    pub(super) join_on: Option<String>,
    pub(super) drop: Vec<Dropped>,
    /// The column by whose hash rows are divided.
    pub(super) by: Option<String>,
    pub(super) seed: u64,
    /// Test rows, and those of the class that has fewest.
    pub(super) test: usize,
    pub(super) fewest: usize,
}

impl Look {
    pub(super) fn at(seen: Vec<Seen>, label: &str, join_on: Option<&str>) -> Result<Self> {
        let mut tables: Vec<Table> = Vec::new();
        for (path, table) in seen {
            let name = table_name(path, &tables);
            let path = path.display().to_string();
            tables.push(Table::read(&name, &path, &table, |_| None)?);
        }
        for table in &tables {
            if let Some(key) = join_on.filter(|key| table.find(key).is_none()) {
                return Err(no_column("--join-on", key, std::slice::from_ref(table)).into());
            }
        }
        if join_on == Some(label) {
            return Err(Input::new("the label cannot be the column to join on").into());
        }
        let column = label_column(&tables, label)?;
        let kind = label_kind(column);
        let values: BTreeSet<Cow<str>> = (0..column.rows())
            .filter_map(|row| column.value(row))
            .collect();
        if kind == ColumnType::Category && values.len() > 2 && values.len() * 2 > column.rows() {
            let message = format!(
                "the label `{label}` holds {} different texts in {} rows: these are names, not classes",
                values.len(),
                column.rows()
            );
            return Err(Input::new(message).into());
        }
        let classes: Vec<String> = match kind {
            ColumnType::Number => Vec::new(),
            ColumnType::Category | ColumnType::Boolean => {
                values.into_iter().map(Cow::into_owned).collect()
            }
        };
        let positive = (classes.len() == 2)
            .then(|| positive(column, &classes))
            .flatten();
        let mut look = Self {
            drop: dropped(&tables, label, join_on),
            label: label.to_owned(),
            kind,
            task: match (kind, classes.len()) {
                (ColumnType::Number, _) => Task::Regression,
                (_, 2) => Task::Binary,
                _ => Task::Multiclass,
            },
            classes,
            positive,
            join_on: join_on.map(str::to_owned),
            by: None,
            seed: SEEDS.start,
            test: 0,
            fewest: 0,
            tables,
        };
        look.by = look.join_on.clone().or_else(|| {
            let id = look.drop.iter().find(|dropped| dropped.unique);
            id.map(|id| id.column.clone())
        });
        look.divide();
        Ok(look)
    }

    /// Looks for a seed whose split is of use, and counts its test part.
    fn divide(&mut self) {
        let on: Vec<String> = self.join_on.iter().cloned().collect();
        let Some(frame) = join(&self.tables, &on, JoinKind::Inner).0 else {
            return;
        };
        let target = frame.find(&self.label).and_then(|column| {
            let label = Label {
                column,
                kind: frame.columns.get(column)?.kind,
                positive: self.positive.as_deref(),
                declared: Some(self.kind),
            };
            Target::of(&frame, &label)
        });
        let Some(target) = target else { return };
        let partition = |seed| {
            let by = self.by.iter().map(|name| Spot {
                value: name.clone(),
                place: Place::File("serin.yaml".into()),
            });
            let rule = SplitRule::Hash {
                test: TEST,
                by: by.collect(),
            };
            Partition::of(&frame, &Split { seed, rule })
        };
        let fair = |seed: &u64| partition(*seed).is_some_and(|p| is_fair(&frame, &target, &p));
        let seed = SEEDS.clone().find(fair).unwrap_or(SEEDS.start);
        let Some(partition) = partition(seed) else {
            return;
        };
        self.seed = seed;
        self.test = partition.counts().1;
        self.fewest = fewest(&frame, &target, &partition);
    }

    pub(super) fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let what = match self.task {
            Task::Regression => "a number".to_owned(),
            Task::Binary | Task::Multiclass => format!("{} classes", self.classes.len()),
        };
        lines.push(format!("label `{}`: {what}", self.label));
        for dropped in &self.drop {
            lines.push(format!("dropped `{}`: {}", dropped.column, dropped.why));
        }
        lines
    }
}

/// The error that no table has a column that was named on the command line.
fn no_column(flag: &str, column: &str, tables: &[Table]) -> Input {
    let paths: Vec<&str> = tables.iter().map(|table| table.path.as_str()).collect();
    let columns = || tables.iter().flat_map(|table| &table.columns);
    let near = did_you_mean(column, columns().map(|c| c.name.as_str()));
    let message = format!(
        "{} has no column `{column}`, named by `{flag}`",
        paths.join(", ")
    );
    Input::new(message).hint(near.unwrap_or_else(|| {
        let names: Vec<&str> = columns().map(|c| c.name.as_str()).take(20).collect();
        format!("its columns are `{}`", names.join("`, `"))
    }))
}

fn label_column<'a>(tables: &'a [Table], label: &str) -> Result<&'a Column> {
    let mut found = tables
        .iter()
        .flat_map(|table| &table.columns)
        .filter(|c| c.name == label);
    match (found.next(), found.next()) {
        (Some(column), None) => Ok(column),
        (None, _) => Err(no_column("--label", label, tables).into()),
        (Some(_), Some(_)) => {
            let message = format!("the label `{label}` stands in several tables");
            Err(Input::new(message)
                .hint("rename the one that is not meant")
                .into())
        }
    }
}

/// Whether the label is a number or classes; numbers that are few, whole and often repeated are classes.
fn label_kind(column: &Column) -> ColumnType {
    if column.kind.column_type() != ColumnType::Number {
        return ColumnType::Category;
    }
    let numbers = || (0..column.rows()).filter_map(|row| column.number(row));
    let distinct: HashSet<u64> = numbers().map(f64::to_bits).collect();
    let whole = numbers().all(|x| x.fract() == 0.0);
    schema::label_type(distinct.len() as u64, whole, column.rows() as u64)
}

/// The class that is called positive: by its name, else the rarer one.
fn positive(column: &Column, classes: &[String]) -> Option<String> {
    let says_yes = |class: &&String| {
        ["yes", "true", "1", "y", "t", "positive"].contains(&class.to_lowercase().as_str())
    };
    if let Some(class) = classes.iter().find(says_yes) {
        return Some(class.clone());
    }
    let count = |class: &str| {
        (0..column.rows())
            .filter(|r| column.value(*r).as_deref() == Some(class))
            .count()
    };
    classes.iter().min_by_key(|class| count(class)).cloned()
}

/// Columns that a model cannot learn from. Those that only look like names stay if nothing else is left.
fn dropped(tables: &[Table], label: &str, join_on: Option<&str>) -> Vec<Dropped> {
    let mut dropped: Vec<Dropped> = Vec::new();
    if let Some(key) = join_on {
        dropped.push(Dropped {
            column: key.to_owned(),
            why: "the tables are joined on it; it tells rows apart and nothing else",
            unique: false,
        });
    }
    let features = || {
        let columns = tables.iter().flat_map(|table| &table.columns);
        columns.filter(|c| c.name != label && Some(c.name.as_str()) != join_on)
    };
    let useless: Vec<Dropped> = features()
        .filter_map(|column| {
            let (why, unique) = why_dropped(column)?;
            Some(Dropped {
                column: column.name.clone(),
                why,
                unique,
            })
        })
        .collect();
    if useless.len() < features().count() {
        dropped.extend(useless);
    }
    dropped
}

/// Why a column is no feature, and whether it tells every row apart.
fn why_dropped(column: &Column) -> Option<(&'static str, bool)> {
    let rows = column.rows();
    let distinct: HashSet<Cow<str>> = (0..rows).filter_map(|row| column.value(row)).collect();
    if distinct.is_empty() {
        return Some(("it has no values", false));
    }
    if distinct.len() == 1 && column.missing == 0 {
        return Some(("it has the same value in every row", false));
    }
    if distinct.len() < rows || rows < 3 {
        return None;
    }
    if column.kind.column_type() == ColumnType::Category {
        return Some((
            "another text in every row: it tells rows apart and nothing else",
            true,
        ));
    }
    let numbers: Vec<f64> = distinct
        .iter()
        .filter_map(|text| types::number(text))
        .collect();
    let whole = numbers.len() == rows && numbers.iter().all(|x| x.fract() == 0.0);
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if whole && high - low + 1.0 == rows as f64 {
        Some(("it numbers the rows", true))
    } else if whole && is_id_name(&column.name) {
        Some((
            "another whole number in every row and the name of an id",
            true,
        ))
    } else {
        None
    }
}

/// Whether a column is called as ids are: `id`, `customer_id`, `CustomerId`, `orderid`.
fn is_id_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    lower.ends_with("id")
        || words.any(|word| ["id", "key", "index", "idx", "nr", "uuid", "guid"].contains(&word))
}

/// A table's name: its file's, in the letters that a name may have, and no other table's.
fn table_name(path: &Path, others: &[Table]) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = stem.chars().map(plain).take(100).collect();
    let name = if name.is_empty() {
        "table".to_owned()
    } else {
        name
    };
    let taken = |name: &str| others.iter().any(|table| table.name == name);
    let numbered = (2..).map(|n| format!("{name}_{n}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or(name)
}

/// Whether both parts have every class that has rows enough, and the test part about its share.
fn is_fair(frame: &Frame, target: &Target, partition: &Partition) -> bool {
    let (train, test) = partition.counts();
    let wanted = (train + test) as f64 * TEST;
    if (test as f64) < 0.75 * wanted || test as f64 > 1.5 * wanted || test == 0 {
        return false;
    }
    let mut seen = vec![[0_usize; 2]; target.classes.len()];
    for row in 0..frame.rows() {
        let class = target.class(frame, row);
        let part = usize::from(partition.is_test(row));
        if let Some(count) = class.and_then(|c| seen.get_mut(c)?.get_mut(part)) {
            *count += 1;
        }
    }
    seen.iter()
        .all(|[train, test]| *train > 0 && (*test > 0 || *train < 2))
}

/// Test rows of the class that has fewest of them, or of a number.
fn fewest(frame: &Frame, target: &Target, partition: &Partition) -> usize {
    if target.task == Task::Regression {
        return partition.counts().1;
    }
    let mut counts = vec![0_usize; target.classes.len()];
    for row in (0..frame.rows()).filter(|row| partition.is_test(*row)) {
        if let Some(count) = target
            .class(frame, row)
            .and_then(|class| counts.get_mut(class))
        {
            *count += 1;
        }
    }
    counts.into_iter().min().unwrap_or(0)
}
