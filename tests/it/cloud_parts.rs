//! A snapshot whose parts lie in Cloud Storage, as an export of a database writes them: in several files, cut and
//! ordered otherwise each time.

use std::fs;
use std::path::Path;

use arrow_array::{RecordBatch, UInt64Array};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use serin::workspace::Digest;
use serin::workspace::records::{SnapshotObject, SplitFile};

use crate::emulate::{client, emulate, get, get_text, post, text_answer};
use crate::harness::{Ended, Project, Running};

const BUCKET: &str = "my-project-churn";

/// How an export cuts and orders the rows of a part.
#[derive(Clone, Copy)]
struct Cut {
    /// The folder below `snapshots/exports/`.
    key: &'static str,
    files: usize,
    /// What rows are reordered by: prime to their number.
    stride: usize,
}

const ONE: Cut = Cut {
    key: "one",
    files: 3,
    stride: 1201,
};
const OTHER: Cut = Cut {
    key: "other",
    files: 5,
    stride: 17,
};

/// A project whose snapshot was exported to an emulator.
struct Exported {
    project: Project,
    url: String,
    _emulator: Running,
}

impl Exported {
    fn new(cut: Cut) -> Self {
        let project = Project::churn_with_short_rollout();
        let (emulator, url) = emulate(&project, "cloud");
        let bucket = json!({ "name": BUCKET, "location": "us-central1" });
        assert_eq!(
            post(&format!("{url}/storage/v1/b?project=p"), &bucket).0,
            200
        );
        let exported = Self {
            project,
            url,
            _emulator: emulator,
        };
        exported.run(&["--only", "lint"]).expect(0);
        exported.export(cut);
        exported
    }

    fn run(&self, more: &[&str]) -> Ended {
        let arguments = [
            "run",
            "project",
            "--workspace",
            "workspace",
            "--emulator",
            &self.url,
        ];
        self.project.serin(&[&arguments, more].concat())
    }

    /// Puts the parts that `serin lint` wrote into Cloud Storage, and writes the record of that.
    fn export(&self, cut: Cut) {
        let folder = self.project.workspace().join(".serin");
        let mut dataset = self.project.record("dataset.json");
        let mut digests = String::new();
        for name in ["train", "test"] {
            let file = folder.join(format!("data/{name}.parquet"));
            let rows = dataset[name]["rows"].as_u64().unwrap();
            let part = self.put_part(&file, name, rows, cut);
            digests += &format!("{}\n", part.sha256);
            dataset[name] = serde_json::to_value(part).unwrap();
            fs::remove_file(file).unwrap();
        }
        dataset["digest"] = json!(Digest::of(digests.as_bytes()));
        let text = serde_json::to_string_pretty(&dataset).unwrap();
        fs::write(folder.join("dataset.json"), text).unwrap();
    }

    fn put_part(&self, file: &Path, name: &str, rows: u64, cut: Cut) -> SplitFile {
        let all = read(file);
        let n = all.num_rows();
        assert_eq!(n as u64, rows);
        let order: Vec<u64> = (0..n).map(|i| (i * cut.stride % n) as u64).collect();
        let folder = format!("snapshots/exports/{}", cut.key);
        let mut objects = Vec::new();
        // The later a file, the smaller.
        let mut from = 0;
        for number in 0..cut.files {
            let left = cut.files - number;
            let until = if left == 1 { n } else { from + (n - from) / 2 };
            let taken = UInt64Array::from(order[from..until].to_vec());
            from = until;
            let batch = arrow_select::take::take_record_batch(&all, &taken).unwrap();
            let object = format!("{folder}/{name}-{number:012}.parquet");
            objects.push(self.put(&object, bytes(&batch)));
        }
        SplitFile::of_objects(
            format!("gs://{BUCKET}/{folder}/{name}-*.parquet"),
            rows,
            objects,
        )
    }

    /// Writes an object.
    fn put(&self, name: &str, body: Vec<u8>) -> SnapshotObject {
        let url = &self.url;
        let target = format!("{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}");
        let (code, text) = text_answer(client().post(target).body(body));
        assert_eq!(code, 200, "{text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        SnapshotObject {
            uri: format!("gs://{BUCKET}/{name}"),
            size: object["size"].as_str().unwrap().parse().unwrap(),
            crc32c: object["crc32c"].as_str().unwrap().to_owned(),
        }
    }

    fn delete(&self, name: &str) {
        let name = name.replace('/', "%2F");
        let target = format!("{}/storage/v1/b/{BUCKET}/o/{name}", self.url);
        assert_eq!(text_answer(client().delete(target)).0, 204);
    }

    fn model(&self, name: &str) -> Vec<u8> {
        let folder = self.project.workspace().join(".serin/model");
        fs::read(folder.join(name)).unwrap()
    }

    /// What was judged, without what it was made from.
    fn judged(&self) -> Value {
        let mut record = self.project.record("validate.json");
        record.as_object_mut().unwrap().remove("inputs");
        record
    }

    fn fetched(&self) -> Vec<String> {
        let folder = self.project.workspace().join(".serin/data/test");
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn read(file: &Path) -> RecordBatch {
    let file = fs::File::open(file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn bytes(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn the_same_rows_in_other_files_make_the_same_model_and_figures() {
    let exported = Exported::new(ONE);
    let pattern = |cut: &str| format!("gs://{BUCKET}/snapshots/exports/{cut}/train-*.parquet");
    exported
        .run(&["--from", "train"])
        .expect(0)
        .says(&format!("found {} (3 files)", pattern("one")))
        .says("(3 of 3 files fetched, 0 there already)")
        .says("(0 of 3 files fetched, 3 there already)")
        .says("promoted")
        .says("curl -X POST");
    assert_eq!(
        exported.project.record("deploy.json")["verdict"],
        "promoted"
    );
    let page = exported.project.workspace().join(".serin/report.html");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("exports/one/train-*.parquet") && page.contains("3 files"));
    // Only the records were uploaded beside the export.
    let list = format!("{}/storage/v1/b/{BUCKET}/o?prefix=snapshots/", exported.url);
    let names: Vec<String> = get(&list).1["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["name"].as_str().unwrap().to_owned())
        .filter(|name| !name.contains("/exports/"))
        .collect();
    let digest = exported.project.record("dataset.json")["digest"].clone();
    let digest = digest.as_str().unwrap();
    assert_eq!(
        names,
        ["dataset.json", "profile.json"].map(|n| format!("snapshots/{digest}/{n}"))
    );
    let job = exported.project.record("train.json")["job"].clone();
    let job = get_text(&format!("{}/v1/{}", exported.url, job.as_str().unwrap())).1;
    assert!(job.contains(&pattern("one")), "{job}");

    let other = Exported::new(OTHER);
    other
        .run(&["--only", "train", "--only", "validate"])
        .expect(0);
    for file in ["model.bst", "model.json"] {
        assert!(exported.model(file) == other.model(file), "{file} differs");
    }
    assert_eq!(exported.judged(), other.judged());
    assert_eq!(other.fetched().len(), 5);
}

#[test]
fn what_lies_elsewhere_than_the_record_says_stops_the_step() {
    let exported = Exported::new(ONE);
    let object = |part: &str, n: usize| format!("snapshots/exports/one/{part}-{n:012}.parquet");
    let stops = |step: &str, uri: &str, says: &str| {
        let ended = exported.run(&["--only", step]);
        assert_ne!(ended.code, Some(0));
        ended
            .says(&format!("gs://{BUCKET}/{uri}: {says}"))
            .says("run `serin lint` again");
    };
    // One too many.
    let more = object("train", 3);
    exported.put(&more, b"more".to_vec());
    stops("train", &more, "is none of the objects");
    exported.delete(&more);
    exported
        .run(&["--only", "train", "--only", "validate"])
        .expect(0);
    // One that is damaged on this machine is fetched again, and only that.
    let folder = exported.project.workspace().join(".serin/data/test");
    fs::write(folder.join("test-000000000001.parquet"), "damaged").unwrap();
    fs::write(
        folder.join("test-000000000009.parquet"),
        "of another export",
    )
    .unwrap();
    exported
        .run(&["--only", "validate"])
        .expect(0)
        .says("(1 of 3 files fetched, 2 there already)");
    assert_eq!(exported.fetched().len(), 3);
    // One that is changed.
    for (step, part) in [("validate", "test"), ("train", "train")] {
        let changed = object(part, 1);
        exported.put(&changed, b"other".to_vec());
        stops(step, &changed, "was changed after the snapshot");
        exported.delete(&changed);
        stops(step, &changed, "is gone");
    }
}

#[test]
fn a_fit_without_the_cloud_takes_a_pattern() {
    let exported = Exported::new(ONE);
    exported.run(&["--only", "train"]).expect(0);
    let folder = exported.project.folder.path().join("files");
    fs::create_dir(&folder).unwrap();
    let dataset = exported.project.record("dataset.json");
    let media = |name: &str| {
        let name = name.replace('/', "%2F");
        let url = format!("{}/storage/v1/b/{BUCKET}/o/{name}?alt=media", exported.url);
        bytes_of(&url)
    };
    let prefix = format!("gs://{BUCKET}/");
    for (n, object) in dataset["train"]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let name = object["uri"]
            .as_str()
            .unwrap()
            .strip_prefix(&prefix)
            .unwrap();
        fs::write(folder.join(format!("t{}.parquet", 9 - n)), media(name)).unwrap();
    }
    let key = exported.project.record("train.json")["key"].clone();
    let specification = media(&format!("jobs/{}/fit.json", key.as_str().unwrap()));
    fs::write(folder.join("fit.json"), specification).unwrap();
    let fit = |data: &str| {
        exported.project.serin(&[
            "fit",
            "--spec=files/fit.json",
            &format!("--training-data={data}"),
            "--model-dir=files/model",
        ])
    };
    fit("files/t*.parquet").expect(0).says("were watched");
    for file in ["model.bst", "model.json"] {
        let made = fs::read(folder.join("model").join(file)).unwrap();
        assert!(made == exported.model(file), "{file} differs");
    }
    fit("files/u*.parquet")
        .expect(2)
        .says("there is no file at `files/u*.parquet`");
    fit("fi*es/t.parquet")
        .expect(2)
        .says("is no pattern of files");
    fs::remove_file(folder.join("t9.parquet")).unwrap();
    fit("files/t*.parquet")
        .expect(2)
        .says("is not the snapshot of the specification");
}

fn bytes_of(url: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let answer = client().get(url).send().await.unwrap();
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap().to_vec()
    })
}
