//! Small tables for the tests of this room: two numbers, a category and a boolean, with gaps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;

use super::learner::{self, FitReport, Lesson};
use super::part::Part;
use super::random::Random;
use super::table;
use crate::config::{Builtin, Times};
use crate::workspace::records::{Feature, FeatureType, LabelColumn, Task};

pub(crate) struct Made {
    folder: tempfile::TempDir,
    pub(crate) label: LabelColumn,
    pub(crate) features: Vec<Feature>,
    pub(crate) times: Times,
    pub(crate) columns: Vec<(&'static str, ArrayRef)>,
    /// The label's texts; numbers as texts for a number to predict.
    pub(crate) truth: Vec<String>,
}

impl Made {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("part.parquet")
    }

    pub(crate) fn part(&self) -> Part {
        Part::File(self.path())
    }

    /// The same rows as an export might write them: in another order, in that many files of other sizes.
    pub(crate) fn exported(&self, files: usize, seed: u64) -> Part {
        let batches: Vec<RecordBatch> = self.batches().collect();
        let all = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
        let mut random = Random::new(seed);
        let mut rows: Vec<u64> = (0..all.num_rows() as u64).collect();
        random.shuffle(&mut rows);
        let mut cuts: Vec<usize> = (1..files).map(|_| random.below(rows.len())).collect();
        cuts.extend([0, rows.len()]);
        cuts.sort_unstable();
        let paths = cuts.windows(2).enumerate().map(|(n, cut)| {
            let taken = UInt64Array::from(rows[cut[0]..cut[1]].to_vec());
            let path = self.folder.path().join(format!("{seed}-{n:012}.parquet"));
            write(
                &path,
                &arrow_select::take::take_record_batch(&all, &taken).unwrap(),
            );
            path
        });
        Part::Export(paths.collect())
    }

    /// Writes the Parquet file from what is in memory.
    pub(crate) fn written(self) -> Self {
        let label: ArrayRef = match self.label.task {
            Task::Regression => Arc::new(Float64Array::from_iter_values(
                self.truth.iter().map(|t| t.parse::<f64>().unwrap()),
            )),
            _ => Arc::new(StringArray::from_iter_values(&self.truth)),
        };
        let mut columns = self.columns.clone();
        columns.push(("label", label));
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        write(&self.path(), &batch);
        self
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = RecordBatch> {
        table::batches(&self.path()).unwrap().map(Result::unwrap)
    }

    pub(crate) fn fit(&self, seed: u64, out: &Path) -> Result<FitReport> {
        self.fit_with(&Builtin::default(), seed, out)
    }

    pub(crate) fn fit_with(
        &self,
        parameters: &Builtin,
        seed: u64,
        out: &Path,
    ) -> Result<FitReport> {
        self.fit_part(&self.part(), parameters, seed, out)
    }

    pub(crate) fn fit_part(
        &self,
        part: &Part,
        parameters: &Builtin,
        seed: u64,
        out: &Path,
    ) -> Result<FitReport> {
        let lesson = Lesson {
            label: &self.label,
            features: &self.features,
            dropped: &["id".to_owned()],
            times: self.times,
            parameters,
            seed,
        };
        learner::fit(part, lesson, out, &mut |_| {})
    }
}

/// Writes a Parquet file.
pub(crate) fn write(path: &Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

pub(crate) fn binary(rows: usize) -> Made {
    make(rows, Task::Binary, &["no", "yes"], 1)
}

pub(crate) fn multiclass(rows: usize) -> Made {
    make(rows, Task::Multiclass, &["high", "low", "mid"], 2)
}

pub(crate) fn regression(rows: usize) -> Made {
    make(rows, Task::Regression, &[], 3)
}

fn make(rows: usize, task: Task, classes: &[&str], seed: u64) -> Made {
    let mut random = Random::new(seed);
    let mut unit = move || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    let (mut x, mut y, mut area, mut plan, mut truth) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..rows {
        let (a, b) = (unit() * 10.0, unit());
        let place = ["408", "415", "510", "north", "south"][(unit() * 5.0) as usize];
        let flag = unit() < 0.3;
        let signal =
            a * 0.4 + if place == "415" { 2.0 } else { 0.0 } + if flag { 1.5 } else { 0.0 };
        let noisy = signal + unit() * 2.0;
        truth.push(match task {
            Task::Regression => format!("{noisy:.4}"),
            Task::Binary => classes[usize::from(noisy > 4.2)].to_owned(),
            Task::Multiclass => {
                let place = usize::from(noisy > 3.0) + usize::from(noisy > 5.0);
                classes[[1, 2, 0][place]].to_owned()
            }
        });
        x.push((unit() > 0.05).then_some(a));
        y.push(Some(b));
        area.push((unit() > 0.05).then_some(place));
        plan.push((unit() > 0.05).then_some(flag));
    }
    let feature = |name: &str, kind| Feature {
        name: name.to_owned(),
        kind,
    };
    Made {
        folder: tempfile::tempdir().unwrap(),
        label: LabelColumn {
            column: "label".to_owned(),
            positive: (task == Task::Binary).then(|| "yes".to_owned()),
            task,
            classes: classes.iter().map(|c| (*c).to_owned()).collect(),
        },
        features: vec![
            feature("minutes", FeatureType::Number),
            feature("area", FeatureType::Category),
            feature("plan", FeatureType::Boolean),
            feature("noise", FeatureType::Number),
        ],
        times: Times::Number,
        columns: vec![
            ("noise", Arc::new(Float64Array::from(y)) as ArrayRef),
            ("minutes", Arc::new(Float64Array::from(x))),
            ("area", Arc::new(StringArray::from(area))),
            ("plan", Arc::new(BooleanArray::from(plan))),
        ],
        truth,
    }
    .written()
}
