//! The snapshot with its profiles, and the checks of them.

use anyhow::Result;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::data::checks::{self, Origin, ProfileScope};
use crate::data::findings::Findings;
use crate::data::frame::Frame;
use crate::data::label::Target;
use crate::data::read::{Dialect, File, Table};
use crate::data::snapshot;
use crate::data::split::Partition;
use crate::data::stats::{self, Profiled};
use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::{Profile, SplitFile};
use crate::workspace::{FOLDER, Workspace};

/// The joined table with all that a snapshot needs.
pub struct Ready<'a> {
    pub frame: Frame<'a>,
    pub target: Target,
    pub partition: Partition,
}

/// A snapshot that was written, and what it holds.
pub struct Frozen {
    pub train: SplitFile,
    pub test: SplitFile,
    /// Of each part.
    pub profile: Profile,
    /// Of both parts together.
    pub whole: Profiled,
}

impl Frozen {
    /// Writes both parts and profiles them, one by one and as one table.
    ///
    /// # Errors
    /// When a file cannot be written or read again.
    pub fn new(workspace: &Workspace, ready: &Ready, label: &str) -> Result<Self> {
        let Ready {
            frame,
            target,
            partition,
        } = ready;
        let (train, test): (Vec<usize>, Vec<usize>) =
            (0..frame.rows()).partition(|row| !partition.is_test(*row));
        let part = |name: &str, rows: &[usize]| {
            let path = format!("{FOLDER}/data/{name}.parquet");
            snapshot::write(workspace, &path, frame, target, rows)
        };
        let train = part("train", &train)?;
        let test = part("test", &test)?;
        let file = |part: &SplitFile| File {
            path: workspace.path(&part.path),
            shown: part.path.as_str().into(),
        };
        let profiled = |files: Vec<File>| {
            let table = Table::open(files, &Dialect::default())?;
            let options = stats::Options {
                label: Some(label),
                ..stats::Options::default()
            };
            stats::profile(&table, &options)
        };
        let of = |column| frame.table_of(column).map(|table| table.name.clone());
        let tables = frame.columns.iter().map(|c| of(c).unwrap_or_default());
        Ok(Self {
            profile: Profile {
                rows: frame.rows() as u64,
                train_rows: train.rows,
                test_rows: test.rows,
                tables: tables.collect(),
                train: profiled(vec![file(&train)])?.profile,
                test: profiled(vec![file(&test)])?.profile,
            },
            // A merge of the two would lack what columns tell of the label and of each other.
            whole: profiled(vec![file(&train), file(&test)])?,
            train,
            test,
        })
    }

    /// Runs every check of the profile. `history` are the rows of earlier runs, the latest last.
    pub fn check(
        &self,
        ready: &Ready,
        config: &Config,
        drift: Option<&DriftReport>,
        history: &[u64],
        now: Timestamp,
        findings: &mut Findings,
    ) {
        let tables = ready.frame.tables.iter();
        let (names, paths): (Vec<&str>, Vec<&str>) =
            tables.map(|t| (t.name.as_str(), t.path.as_str())).unzip();
        let (names, paths) = (names.join(", "), paths.join(", "));
        let whole = Origin {
            table: &names,
            path: &paths,
        };
        let origins: Vec<Origin> = (ready.frame.columns.iter())
            .map(|column| match ready.frame.table_of(column) {
                Some(table) => Origin {
                    table: &table.name,
                    path: &table.path,
                },
                None => whole,
            })
            .collect();
        let scope = ProfileScope {
            config,
            profile: &self.whole.profile,
            origins: &origins,
            whole,
            parts: Some((&self.profile.train, &self.profile.test)),
            similar: &self.whole.similar,
            drift,
            history,
            now,
        };
        checks::profile(&scope, findings);
    }
}
