//! The truth about predictions, which comes later, twice, in part, or in contradiction.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::Result;

use super::columns::key_part;
use super::kept::{self, Kept};
use crate::data::read;
use crate::error::Input;
use crate::workspace::records::Task;

/// Labels as they are read, of the predictions that wait.
#[derive(Debug)]
pub(crate) struct Labels<'a> {
    kept: &'a Kept,
    task: Task,
    classes: &'a [String],
    found: HashMap<u64, Found>,
    /// Labels that were read.
    pub(crate) read: u64,
    /// Labels of the kept predictions that are no class or no number.
    pub(crate) unusable: u64,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    truth: f64,
    times: u32,
    contradicts: bool,
}

/// Predictions with their truth.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Matched {
    /// A class's place or a number.
    pub truth: Vec<f64>,
    /// A probability for each class, or a number, one after the other.
    pub scores: Vec<f32>,
    /// Keys for which predictions wait, of which the figures here are.
    pub waiting: u64,
    /// Whether these are a sample of all keys.
    pub is_sample: bool,
    /// Keys that were labelled more than once, alike.
    pub repeated: u64,
    /// Keys that were labelled in different ways; they count as unlabelled.
    pub contradictory: u64,
    /// The mean prediction of the labelled, and of all that wait.
    pub mean_labelled: Option<f64>,
    pub mean: Option<f64>,
}

impl<'a> Labels<'a> {
    pub(crate) fn new(kept: &'a Kept, task: Task, classes: &'a [String]) -> Self {
        Self {
            kept,
            task,
            classes,
            found: HashMap::new(),
            read: 0,
            unusable: 0,
        }
    }

    /// Takes in the labels of a table's files.
    ///
    /// # Errors
    /// [`Input`] where a column is missing or a file cannot be read.
    pub(crate) fn read_files(
        &mut self,
        table: &read::Table,
        shown: &str,
        key: &[String],
        column: &str,
    ) -> Result<()> {
        let place = |name: &str| {
            let found = table.columns().iter().position(|c| c == name);
            found.ok_or_else(|| {
                Input::new(format!("the labels at {shown} have no column `{name}`")).hint(
                    "`triggers.performance.labels` names the key, and the column with the truth",
                )
            })
        };
        let keys = key
            .iter()
            .map(|name| place(name))
            .collect::<Result<Vec<_>, _>>()?;
        let truth = place(column)?;
        let mut blocks = table.blocks()?;
        while let Some(block) = blocks.next()? {
            let batch = block.parse()?;
            let text = |at: usize, row| {
                batch
                    .columns
                    .get(at)
                    .and_then(|values| values.text(row, false))
            };
            for row in 0..batch.rows {
                self.take(
                    keys.iter().map(|at| text(*at, row)),
                    text(truth, row).as_deref(),
                );
            }
        }
        Ok(())
    }

    /// Takes in a label; one without a value is none yet.
    pub(crate) fn take<'t>(
        &mut self,
        key: impl Iterator<Item = Option<Cow<'t, str>>>,
        truth: Option<&str>,
    ) {
        self.read += 1;
        let Some(key) = kept::key_of(key).filter(|key| self.kept.by_key.contains_key(key)) else {
            return;
        };
        let Some(text) = truth.filter(|text| !text.trim_ascii().is_empty()) else {
            return;
        };
        let Some(truth) = self.truth(text) else {
            self.unusable += 1;
            return;
        };
        let found = self.found.entry(key).or_insert(Found {
            truth,
            times: 0,
            contradicts: false,
        });
        found.times += 1;
        found.contradicts |= found.truth != truth;
    }

    /// What a label says: a class's place, or a number.
    fn truth(&self, text: &str) -> Option<f64> {
        if self.task == Task::Regression {
            return text
                .trim_ascii()
                .parse()
                .ok()
                .filter(|x: &f64| x.is_finite());
        }
        let written = self.classes.iter().position(|class| class == text);
        let alike = || {
            let text = key_part(text);
            self.classes
                .iter()
                .position(|class| key_part(class) == text)
        };
        written.or_else(alike).map(|at| at as f64)
    }

    /// The predictions with their truth.
    pub(crate) fn matched(&self) -> Matched {
        let mut matched = Matched {
            waiting: self.kept.by_key.len() as u64,
            is_sample: self.kept.is_sample,
            ..Matched::default()
        };
        let (mut labelled, mut all) = (0.0, 0.0);
        // In the order of the hashes: the same whoever read which rows.
        for (key, prediction) in &self.kept.by_key {
            all += prediction.value;
            match self.found.get(key) {
                Some(found) if found.contradicts => matched.contradictory += 1,
                Some(found) => {
                    matched.repeated += u64::from(found.times > 1);
                    matched.truth.push(found.truth);
                    matched.scores.extend(&prediction.scores);
                    labelled += prediction.value;
                }
                None => {}
            }
        }
        let mean = |sum: f64, n: usize| (n > 0).then(|| sum / n as f64);
        matched.mean = mean(all, self.kept.by_key.len());
        matched.mean_labelled = mean(labelled, matched.truth.len());
        matched
    }
}
