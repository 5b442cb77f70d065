//! The fields that `serin.yaml` may have.

use crate::settings::Sections;

/// Every field of `serin.yaml` by its section; `*` is a table's name, or a column's.
pub(super) const FIELDS: Sections = &[
    (
        "",
        &[
            "model",
            "bucket",
            "create_bucket",
            "encryption_key",
            "data",
            "lint",
            "train",
            "validate",
            "push",
            "deploy",
        ],
    ),
    (
        "data",
        &["tables", "query", "join", "label", "drop", "split"],
    ),
    (
        "data.tables.*",
        &["local", "bigquery", "delimiter", "encoding"],
    ),
    ("data.join", &["on", "how"]),
    ("data.label", &["column", "positive"]),
    ("data.split", &["test", "by", "seed", "time"]),
    ("data.split.time", &["column", "test_from"]),
    (
        "lint",
        &[
            "schema",
            "checks",
            "max_bad_rows",
            "min_rows",
            "volume",
            "freshness",
            "drift",
        ],
    ),
    ("lint.volume", &["at_least", "at_most", "last"]),
    ("lint.freshness", &["column", "within"]),
    (
        "lint.drift",
        &[
            "against",
            "psi",
            "jensen_shannon",
            "l_infinity",
            "kolmogorov_smirnov",
            "fdr",
            "min_rows",
            "columns",
        ],
    ),
    (
        "lint.drift.columns.*",
        &["psi", "jensen_shannon", "l_infinity", "kolmogorov_smirnov"],
    ),
    (
        "train",
        &[
            "builtin",
            "container",
            "python",
            "pipeline",
            "machine",
            "service_account",
            "timeout",
            "max_queue",
        ],
    ),
    (
        "train.builtin",
        &[
            "max_depth",
            "learning_rate",
            "rounds",
            "subsample",
            "colsample_bytree",
            "min_child_weight",
            "early_stopping_rounds",
            "validation",
        ],
    ),
    ("validate", &["require", "slices"]),
    (
        "validate.require",
        &[
            "metric",
            "at_least",
            "at_most",
            "no_worse_than",
            "by",
            "confidence",
        ],
    ),
    ("push", &["registry"]),
    (
        "deploy",
        &[
            "endpoint",
            "machine",
            "service_account",
            "stages",
            "bake",
            "min_requests",
            "max_wait",
            "limits",
            "replay",
        ],
    ),
    ("deploy.limits", &["error_rate", "latency_p95"]),
    ("deploy.replay", &["from", "concurrency"]),
];
