//! Reading the log of predictions: what is counted, gathered, kept, and put up with.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::*;
use crate::data::read::{Dialect, File};
use crate::workspace::records::Task;

const HOUR: i64 = 3_600_000_000;

fn feature(name: &str, kind: ValueType) -> Feature {
    Feature {
        name: name.into(),
        kind,
    }
}

/// Two windows of an hour, and a key that is no feature.
fn plan() -> Plan {
    let window = |n: i64| Span {
        from: n * HOUR,
        until: (n + 1) * HOUR,
    };
    Plan {
        endpoints: vec!["churn".into()],
        champion: vec!["11".into()],
        windows: vec![window(0), window(1)],
        features: vec![
            feature("minutes", ValueType::Number),
            feature("plan", ValueType::Text),
            feature("active", ValueType::Boolean),
        ],
        ignored: vec!["customer".into(), "churn".into()],
        scores: Scores {
            task: Some(Task::Binary),
            classes: vec!["no".into(), "yes".into()],
        },
        keep: Some(Keep {
            span: window(1),
            key: vec!["customer".into()],
            most: 1000,
        }),
    }
}

/// A row as texts of JSON lists.
struct Row {
    at: i64,
    model: &'static str,
    request: Vec<String>,
    response: Vec<String>,
}

fn row(at: i64, model: &'static str, instance: &Value, p: f64) -> Row {
    let prediction = json!({"label": "no", "scores": {"no": 1.0 - p, "yes": p}});
    Row {
        at,
        model,
        request: vec![instance.to_string()],
        response: vec![prediction.to_string()],
    }
}

fn logged(row: &Row) -> Logged<'static> {
    Logged {
        at: row.at,
        endpoint: "projects/1/locations/l/endpoints/churn".into(),
        model: row.model.into(),
        request: Cow::Owned(json!(row.request).to_string()),
        response: Cow::Owned(json!(row.response).to_string()),
    }
}

fn seen(plan: &Plan, rows: &[Row]) -> Seen {
    let mut pages = Pages::new(plan);
    for page in rows.chunks(7) {
        pages.take(page.iter().map(|row| Some(logged(row))));
    }
    pages.seen()
}

#[test]
fn what_an_instance_lacks_or_has_too_much_is_counted_by_feature() {
    let plan = plan();
    let whole = json!({"minutes": 10.0, "plan": "a", "active": true, "customer": 1.0});
    let rows = [
        row(1, "11", &whole, 0.25),
        row(
            2,
            "11",
            &json!({"minutes": "7.5", "plan": 3.0, "active": 0.0}),
            0.75,
        ),
        row(
            3,
            "11",
            &json!({"minutes": "many", "plan": null, "activ": true}),
            0.5,
        ),
        // The other window, another model, and none of both.
        row(HOUR, "11", &whole, 0.5),
        row(4, "22", &whole, 1.0),
        row(5 * HOUR, "11", &whole, 0.5),
    ];
    let seen = seen(&plan, &rows);
    assert_eq!((seen.rows, seen.bad_rows, seen.of_others), (6, 0, 0));
    let WindowSeen { counts, profile } = &seen.windows[0];
    assert_eq!((counts.rows, counts.instances), (4, 3));
    assert_eq!(counts.absent, [0, 0, 1]);
    assert_eq!(counts.mistyped, [1, 0, 0]);
    assert_eq!(counts.unknown, [("activ".to_owned(), 1)].into());
    assert_eq!(counts.models["22"].instances, 1);
    assert_eq!(counts.models["22"].mean(), Some(1.0));
    let figures: Vec<(u64, u64)> = profile
        .columns
        .iter()
        .map(|c| (c.count, c.missing()))
        .collect();
    assert_eq!(figures, [(2, 1), (2, 1), (2, 1), (3, 0)]);
    assert_eq!(profile.columns[0].numbers.as_ref().unwrap().mean, 8.75);
    assert_eq!(profile.columns[3].numbers.as_ref().unwrap().mean, 0.5);
    assert_eq!(seen.windows[1].profile.rows, 1);
    // Of the window that labels are for, one prediction.
    assert_eq!((seen.kept.all, seen.kept.without_key), (1, 0));
}

#[test]
fn malformed_payloads_are_counted_and_told_and_end_nothing() {
    let plan = plan();
    let good = json!({"minutes": 1.0, "plan": "a", "active": true});
    let of = |request: &str| Row {
        request: vec![request.to_owned()],
        ..row(1, "11", &good, 0.5)
    };
    let mut rows = vec![
        of("{\"minutes\": 1"),
        of("7"),
        of("[1.0, \"a\", true, 4, 5]"),
        Row {
            request: vec![],
            ..of("")
        },
        of(&good.to_string()),
    ];
    rows.push(Row {
        response: vec!["{\"scores\": {\"no\": 0.5}}".into()],
        ..of(&good.to_string())
    });
    let mut pages = Pages::new(&plan);
    let raw = Logged {
        request: "no JSON at all [".into(),
        ..logged(&rows[4])
    };
    let broken = Logged {
        request: "[\"unterminated".into(),
        ..raw.clone()
    };
    pages.take(rows.iter().map(|row| Some(logged(row))));
    pages.take([None, Some(raw), Some(broken)].into_iter());
    let seen = pages.seen();
    let counts = &seen.windows[0].counts;
    assert_eq!(seen.bad_rows, 1);
    assert_eq!(counts.malformed, 6, "{:#?}", counts.examples);
    assert_eq!(counts.examples.len(), 5);
    assert!(
        counts.examples[0].starts_with("1970-01-01T00:00:00"),
        "{:?}",
        counts.examples
    );
    assert_eq!((counts.instances, counts.without_prediction), (2, 1));
}

#[test]
fn whole_bodies_arrays_and_several_instances_are_read() {
    let plan = plan();
    let body = json!({"instances": [[1.0, "a", true], {"minutes": 3.0}]});
    let answer = json!({"predictions": [0.1, {"label": "yes", "scores": {"no": 0.1, "yes": 0.9}}]});
    let rows = [
        Row {
            at: 1,
            model: "11",
            request: vec![body.to_string()],
            response: vec![answer.to_string()],
        },
        Row {
            at: 2,
            model: "11",
            request: vec!["{\"minutes\": 5}".into(), "{\"minutes\": 7}".into()],
            response: vec!["[0.8, 0.2]".into(), "0.3".into()],
        },
    ];
    let seen = seen(&plan, &rows);
    let counts = &seen.windows[0].counts;
    assert_eq!(
        (counts.instances, counts.without_prediction),
        (4, 0),
        "{counts:?}"
    );
    let columns = &seen.windows[0].profile.columns;
    assert_eq!(columns[0].numbers.as_ref().unwrap().mean, 4.0);
    let mean = columns[3].numbers.as_ref().unwrap().mean;
    assert!((mean - 0.375).abs() < 1e-12, "{mean}");
}

#[test]
fn files_on_threads_give_the_same_as_pages() {
    let plan = plan();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let mut text = String::new();
    let mut rows = Vec::new();
    for n in 0..3000_i64 {
        let instance = json!({"minutes": n as f64, "plan": format!("p{}", n % 5), "active": n % 2 == 0, "customer": n.to_string()});
        let row = row(n * HOUR / 1500, "11", &instance, (n % 100) as f64 / 128.0);
        let time = Timestamp::from_unix_micros(row.at).to_string();
        // As BigQuery exports it.
        let time = time.replace('T', " ").replace('Z', " UTC");
        let line = json!({"endpoint": "churn", "deployed_model_id": "11", "logging_time": time, "request_id": n.to_string(), "request_payload": row.request, "response_payload": row.response});
        text.push_str(&format!("{line}\n"));
        rows.push(row);
    }
    std::fs::write(&path, text).unwrap();
    let file = File {
        path,
        shown: "log.jsonl".into(),
    };
    let table = read::Table::open(vec![file], &Dialect::default()).unwrap();
    for threads in [1, 3] {
        let reading = Reading {
            threads: Some(threads),
            progress: None,
        };
        let of_files = read_files(&plan, &table, "log.jsonl", &reading).unwrap();
        let of_pages = seen(&plan, &rows);
        for (file, page) in of_files.windows.iter().zip(&of_pages.windows) {
            assert_eq!(file.profile.rows, page.profile.rows);
            for (file, page) in file.profile.columns.iter().zip(&page.profile.columns) {
                let numbers = |c: &ColumnFigures| c.numbers.as_ref().map(|n| n.quantiles);
                assert_eq!((file.count, numbers(file)), (page.count, numbers(page)));
            }
        }
        assert_eq!(of_files.kept.by_key, of_pages.kept.by_key);
    }
    let wrong = read_files(
        &plan,
        &read_csv(folder.path()),
        "a.csv",
        &Reading::default(),
    );
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("no column `logging_time`"), "{wrong}");
}

fn read_csv(folder: &std::path::Path) -> read::Table {
    let path = folder.join("a.csv");
    std::fs::write(&path, "x,y\n1,2\n").unwrap();
    let file = File {
        path,
        shown: "a.csv".into(),
    };
    read::Table::open(vec![file], &Dialect::default()).unwrap()
}

/// The predictions of so many customers in the window that labels are for.
fn predictions(customers: u32) -> Vec<Row> {
    let rows = (0..customers).map(|n| {
        let instance = json!({"minutes": 1.0, "customer": f64::from(n)});
        row(
            HOUR + i64::from(n),
            "11",
            &instance,
            f64::from(n % 100) / 100.0,
        )
    });
    rows.collect()
}

fn take(labels: &mut Labels, customer: &str, truth: &str) {
    let key = [Some(Cow::Borrowed(customer))];
    labels.take(key.into_iter(), Some(truth));
}

#[test]
fn labels_come_late_twice_in_part_and_in_contradiction() {
    let plan = plan();
    let mut rows = predictions(10);
    // Asked again later: the later answer is the one that counts. Another window's is not waited for.
    let again = json!({"minutes": 1.0, "customer": "3"});
    rows.push(row(HOUR + 500, "11", &again, 0.875));
    rows.push(row(HOUR + 600, "11", &json!({"minutes": 1.0}), 0.5));
    rows.push(row(
        7,
        "11",
        &json!({"minutes": 1.0, "customer": 99.0}),
        0.5,
    ));
    let seen = seen(&plan, &rows);
    assert_eq!(
        (seen.kept.keys(), seen.kept.all, seen.kept.without_key),
        (10, 11, 1)
    );
    let classes = plan.scores.classes.clone();
    let mut labels = Labels::new(&seen.kept, Task::Binary, &classes);
    take(&mut labels, "0", "no");
    take(&mut labels, "1", "yes");
    take(&mut labels, " 1.0", "yes");
    take(&mut labels, "2", "no");
    take(&mut labels, "2", "yes");
    take(&mut labels, "3", "yes");
    take(&mut labels, "4", "perhaps");
    take(&mut labels, "5", "");
    take(&mut labels, "99", "yes");
    let matched = labels.matched();
    assert_eq!((labels.read, labels.unusable), (9, 1));
    assert_eq!(matched.truth.len(), 3);
    assert_eq!(
        (matched.waiting, matched.repeated, matched.contradictory),
        (10, 1, 1)
    );
    assert_eq!(matched.scores.len(), 6);
    assert!(matched.scores.contains(&0.875), "{matched:?}");
    assert!(matched.mean_labelled.unwrap() > matched.mean.unwrap());
}

#[test]
fn of_too_many_keys_a_sample_is_kept_that_does_not_depend_on_the_order() {
    let mut plan = plan();
    if let Some(keep) = &mut plan.keep {
        keep.most = 500;
    }
    let rows = predictions(5000);
    let one = seen(&plan, &rows);
    let mut backwards = rows;
    backwards.reverse();
    let other = seen(&plan, &backwards);
    assert_eq!(one.kept.by_key, other.kept.by_key);
    assert_eq!(one.kept.by_key.len(), 500);
    let keys = one.kept.keys() as f64;
    assert!((keys / 5000.0 - 1.0).abs() < 0.2, "{keys}");
    let mut merged = Kept::new(500);
    merged.merge(one.kept.clone());
    merged.merge(other.kept);
    assert_eq!(merged.by_key, one.kept.by_key);
}

#[test]
fn a_log_of_several_endpoints_is_divided() {
    let plan = plan();
    let base = row(1, "11", &json!({"minutes": 1.0}), 0.5);
    let of = |endpoint: &'static str| {
        Some(Logged {
            endpoint: endpoint.into(),
            ..logged(&base)
        })
    };
    let mut pages = Pages::new(&plan);
    // Ids that are words are told by a number too.
    let names = [
        "churn",
        "",
        "projects/p/locations/l/endpoints/1234567890123",
        "other",
        "12",
    ];
    pages.take(names.map(of).into_iter());
    let seen = pages.seen();
    assert_eq!((seen.of_others, seen.windows[0].counts.rows), (2, 3));
}
