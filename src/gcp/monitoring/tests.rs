use std::time::Duration;

use super::*;
use crate::gcp::scripted::{Answer, Scripted};

fn point(minute: u32, value: &str) -> String {
    format!(
        r#"{{"interval":{{"startTime":"2026-01-01T00:{:02}:00Z","endTime":"2026-01-01T00:{minute:02}:00Z"}},"value":{{{value}}}}}"#,
        minute - 1
    )
}

fn page(label: &str, points: &[String], next: &str) -> Answer {
    Answer::json(&format!(
        r#"{{"timeSeries":[{{"metric":{{"type":"t","labels":{{"deployed_model_id":"{label}"}}}},"resource":{{"type":"r","labels":{{"endpoint_id":"e"}}}},"metricKind":"DELTA","valueType":"INT64","points":[{}]}}]{next},"unit":"1"}}"#,
        points.join(",")
    ))
}

#[tokio::test]
async fn series_come_oldest_first_and_from_all_pages() {
    let distribution = r#""distributionValue":{"count":"1","mean":2,"bucketOptions":{"explicitBuckets":{"bounds":[1]}},"bucketCounts":["0","1"]}"#;
    let server = Scripted::start([
        page(
            "7",
            &[
                point(3, r#""int64Value":"30""#),
                point(2, r#""int64Value":"20""#),
            ],
            r#","nextPageToken":"n""#,
        ),
        page(
            "7",
            &[
                point(1, r#""doubleValue":0.5"#),
                point(1, r#""stringValue":"x""#),
            ],
            r#","nextPageToken":"m""#,
        ),
        page("8", &[point(1, distribution)], ""),
    ])
    .await;
    let end = "2026-01-01T00:10:00Z".parse::<Timestamp>().unwrap();
    let query = TimeSeriesQuery {
        filter: r#"metric.type="t" AND resource.labels.endpoint_id="e""#.into(),
        start: end - Duration::from_secs(600),
        end,
        aligner: Some("ALIGN_DELTA".into()),
        reducer: Some("REDUCE_SUM".into()),
        group_by: vec!["metric.label.a".into(), "metric.label.b".into()],
    };
    let monitoring = Monitoring::new(&server.client(), "p");
    let series = monitoring.time_series_list(&query).await.unwrap();
    assert_eq!(series.len(), 2);
    let values: Vec<_> = series[0].points.iter().map(|p| p.value.clone()).collect();
    assert_eq!(
        values,
        [
            PointValue::Double(0.5),
            PointValue::Int(20),
            PointValue::Int(30)
        ]
    );
    assert_eq!(series[0].metric_labels["deployed_model_id"], "7");
    assert_eq!(series[0].resource_labels["endpoint_id"], "e");
    assert!(matches!(&series[1].points[0].value, PointValue::Distribution(d) if d.count == 1));
    insta::assert_snapshot!(server.asked()[1].target, @"/v3/projects/p/timeSeries?filter=metric.type%3D%22t%22%20AND%20resource.labels.endpoint_id%3D%22e%22&interval.startTime=2026-01-01T00%3A00%3A00.000000Z&interval.endTime=2026-01-01T00%3A10%3A00.000000Z&view=FULL&aggregation.alignmentPeriod=60s&aggregation.perSeriesAligner=ALIGN_DELTA&aggregation.crossSeriesReducer=REDUCE_SUM&aggregation.groupByFields=metric.label.a&aggregation.groupByFields=metric.label.b&pageToken=n");
}

#[tokio::test]
async fn nothing_measured_is_no_series() {
    let never = r#"{"error":{"code":404,"message":"Cannot find metric(s) that match type = \"t\".","status":"NOT_FOUND"}}"#;
    let denied =
        r#"{"error":{"code":403,"message":"Permission denied.","status":"PERMISSION_DENIED"}}"#;
    let server = Scripted::start([
        Answer::json(r#"{"unit":"1"}"#),
        Answer::code(404, never),
        Answer::code(403, denied),
    ])
    .await;
    let end = Timestamp::from_unix_micros(0);
    let query = TimeSeriesQuery {
        filter: String::new(),
        start: end,
        end,
        aligner: None,
        reducer: None,
        group_by: vec![],
    };
    let monitoring = Monitoring::new(&server.client(), "p");
    for _ in 0..2 {
        let series = monitoring.time_series_list(&query).await.unwrap();
        assert!(series.is_empty());
    }
    let error = monitoring.time_series_list(&query).await.unwrap_err();
    assert_eq!(error.http, Some(403));
    assert!(!server.asked()[0].target.contains("aggregation"));
}
