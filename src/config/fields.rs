//! The fields that `serin.yaml` may have. A field is one row; `docs/serin.yaml.md` is made of the rows.

use crate::settings::Sections;

/// Makes [`FIELDS`], and for the page what else a row says.
macro_rules! fields {
    ($($section:literal { $($name:literal: $values:literal, $default:literal, $meaning:literal;)* })*) => {
        /// Every field of `serin.yaml` by its section; `*` is a table's name, or a column's.
        pub(super) const FIELDS: Sections = &[$(($section, &[$($name),*])),*];

        /// Of each field its name, what it takes, its default and its meaning, by section.
        #[cfg(test)]
        const ROWS: &[(&str, &[[&str; 4]])] =
            &[$(($section, &[$([$name, $values, $default, $meaning]),*])),*];
    };
}

// A row: what the field takes, its default (`required`, or what happens without it), its meaning.
fields! {
    "" {
        "model": "at most 63 of `a-z`, `0-9`, `-`, `_`, the first a letter or `_`", "required", "the model's id in the registry";
        "bucket": "`gs://NAME`", "required", "the bucket for snapshots, jobs, models and the rollout's journal";
        "create_bucket": "`true` or `false`", "`false`", "a step may look for the bucket and make it; without it, only its objects are asked for";
        "encryption_key": "`projects/P/locations/L/keyRings/R/cryptoKeys/K`", "keys of Google's own", "the Cloud KMS key, of the build's region, for objects, the bucket, jobs, model versions and the endpoint that are made from then on; an endpoint that is there under another key is refused";
        "data": "section", "required", "the tables, what is predicted, and which rows are for testing";
        "lint": "section", "the checks' own severities", "what the data is checked against, and how strictly";
        "train": "section", "required", "the learner, and the job that it runs in";
        "validate": "section", "required", "what the model has to reach";
        "push": "section", "see below", "where the model is registered";
        "deploy": "section", "required", "the endpoint, and how traffic moves to the new version";
        "triggers": "section", "builds are started by hand", "what starts a build: [triggers.md](triggers.md)";
        "monitor": "section", "see below", "how the endpoint is looked at: [monitor.md](monitor.md)";
    }
    "data" {
        "tables": "names to tables: a place, or the section below", "required unless there is a query", "the first is read through, the others are held in memory for the join";
        "query": "a file", "none", "a query that BigQuery runs where `lint --source=bigquery` reads it, instead of tables of BigQuery: [bigquery.md](bigquery.md); relative to `serin.yaml`";
        "staging": "`project.dataset`", "required for `lint --source=bigquery`", "the dataset in which the rows that BigQuery reads stand for a day";
        "max_bytes_billed": "a number with `MB`, `GB` or `TB` (of 1000), or `MiB`, `GiB`, `TiB` (of 1024)", "`1TiB`", "so many bytes the queries of one `lint` are billed at most";
        "join": "section", "required for several tables", "how the tables become one";
        "label": "section", "required", "what is predicted";
        "drop": "a column or a list", "none", "columns that are no features";
        "times": "`number` or `parts`", "`number`", "what the built-in learner makes of a date or a time: its seconds, or `parts`: also the day of the week, the month and the hour, in UTC";
        "split": "section", "a fifth of the rows to test", "which rows are for testing";
    }
    "data.tables.*" {
        "local": "a file, a pattern, a folder, or the same as a `gs://` URI", "one of both is required", "files of CSV (also packed with gzip or zstd), JSON Lines or Parquet, told apart by their bytes; relative to `serin.yaml`";
        "bigquery": "`project.dataset.table`, also with `bq://`", "one of both is required", "a table or view of BigQuery; `lint --source` chooses the place";
        "where": "a condition in BigQuery's SQL", "all rows", "which rows of the table in BigQuery are read; a table that demands a filter of its partitions needs one";
        "delimiter": "one character, or `tab`", "found out", "what stands between the fields of a CSV";
        "encoding": "an encoding that browsers know, by its label: `latin-1`, `utf-16le`, `shift_jis`, `gb18030`, …", "UTF-8, or what a byte order mark says", "how the letters of a text are written";
    }
    "data.join" {
        "on": "a column or a list", "required", "the columns that the tables share";
        "how": "`inner`, `left` or `outer`", "`inner`", "which rows stay that have no partner";
    }
    "data.label" {
        "column": "a column", "required", "the column to predict";
        "positive": "a class", "none", "the class that scores and metrics are about, where there are two";
    }
    "data.split" {
        "test": "a share between 0 and 1", "0.2", "the share of the rows that are for testing";
        "by": "a column or a list", "the whole row", "rows that are equal in these columns stay together";
        "seed": "a whole number", "0", "another seed divides the rows in another way";
        "time": "section", "by a hash", "divides the rows by a time; beside it `test`, `by` and `seed` have no meaning";
    }
    "data.split.time" {
        "column": "a column", "required", "the column with the time";
        "test_from": "a date or time in ISO 8601", "required", "rows from here on are for testing";
    }
    "lint" {
        "schema": "a file", "types are inferred", "types, domains, ranges, patterns and keys: [schema.md](schema.md)";
        "checks": "codes to `off`, `warn` or `reject`", "each check's own", "how strict a check of the data is: [lint.md](lint.md) has them all";
        "max_bad_rows": "a whole number", "0", "so many malformed rows of a table are left out with a warning; more reject";
        "min_rows": "a whole number from 1", "none", "the rows that the joined table has at least";
        "volume": "section", "not compared", "how many rows are expected after those of earlier snapshots";
        "freshness": "section", "not checked", "how old the newest time may be";
        "drift": "section", "not compared", "how far the data may be from what the champion was trained on";
    }
    "lint.volume" {
        "at_least": "a number from 0 to 1", "0.5", "the least rows, as a share of the median of the last snapshots that were trained on";
        "at_most": "a number from 1", "2", "the most rows, as such a share";
        "last": "1 to 1000", "10", "how many snapshots are looked back at";
    }
    "lint.freshness" {
        "column": "a column", "required", "the column with the time";
        "within": "a duration, at most 10 years", "required", "how old its newest value may be, on the build's clock";
    }
    "lint.drift" {
        "against": "`champion`, or a profile's file", "`champion`", "what the data is compared with";
        "psi": "a number above 0", "0.2", "the population stability index from which on a column drifts";
        "jensen_shannon": "above 0, at most 1", "not judged", "the same for the Jensen-Shannon divergence, in bits";
        "l_infinity": "above 0, at most 1", "not judged", "the same for the largest difference of a share";
        "kolmogorov_smirnov": "above 0, at most 1", "not judged", "the same for the Kolmogorov-Smirnov distance, of numbers and times";
        "fdr": "a rate between 0 and 1", "0.05", "the false discovery rate over all columns";
        "min_rows": "a whole number from 1", "200", "with fewer rows on either side nothing is judged";
        "columns": "columns to `off`, or to the section below", "as all others", "limits of single columns";
    }
    "lint.drift.columns.*" {
        "psi": "a number above 0", "that of `lint.drift`", "as there, for this column";
        "jensen_shannon": "above 0, at most 1", "that of `lint.drift`", "as there, for this column";
        "l_infinity": "above 0, at most 1", "that of `lint.drift`", "as there, for this column";
        "kolmogorov_smirnov": "above 0, at most 1", "that of `lint.drift`", "as there, for this column";
    }
    "train" {
        "builtin": "section; `{}` takes the defaults", "one of two is required", "the built-in learner, gradient boosting";
        "existing": "a file, a folder, or the same as a `gs://` URI; or a section", "one of two is required", "a model of XGBoost's that was made elsewhere: [models.md](models.md)";
        "container": "–", "–", "refused: comes later";
        "python": "–", "–", "refused: comes later";
        "pipeline": "–", "–", "refused: comes later";
        "machine": "a machine type", "`n1-standard-4`", "the job's machine";
        "service_account": "an account's address", "the project's", "the account that the job runs as";
        "timeout": "a duration, at most 7 days", "`4h`", "the job runs at most so long";
        "max_queue": "a duration, at most 24 hours", "`30m`", "a build waits so long for the job to start, then cancels it; half of the build's `timeout` is a good choice, which no step is told of";
    }
    "train.builtin" {
        "max_depth": "1 to 32", "6", "the depth of a tree at most";
        "learning_rate": "above 0, at most 1", "0.1", "how much of a tree's answer is taken; also `eta`";
        "rounds": "1 to 100,000", "500", "trees at most; early stopping usually ends sooner";
        "subsample": "above 0, at most 1", "0.8", "the share of the rows that a tree sees";
        "colsample_bytree": "above 0, at most 1", "0.8", "the share of the features that a tree sees";
        "colsample_bylevel": "above 0, at most 1", "1", "the share of those that a level of a tree sees";
        "colsample_bynode": "above 0, at most 1", "1", "the share of those that a split sees";
        "min_child_weight": "a number from 0", "1", "the weight that a leaf needs";
        "gamma": "a number from 0", "0", "the gain that a split needs; also `min_split_loss`";
        "lambda": "a number from 0", "1", "how much large leaves are held back, by their square; also `reg_lambda`";
        "alpha": "a number from 0", "0", "the same by their size; also `reg_alpha`";
        "max_delta_step": "a number from 0", "0", "a leaf's answer is no larger; 0 is no bound";
        "max_bin": "2 to 65,535", "256", "the bins that a number's values are divided into";
        "grow_policy": "`depthwise` or `lossguide`", "`depthwise`", "what is split first: what is nearest to the root, or what gains most";
        "max_leaves": "0 to 1,048,576", "0", "the leaves of a tree at most, with `lossguide`; 0 is no bound";
        "scale_pos_weight": "`auto`, or above 0, at most 1e9", "1", "how much a row of `data.label.positive` counts beside one of the other class; `auto`: so much that both classes count the same, which shifts the probabilities";
        "monotone_constraints": "columns to `increasing`, `decreasing` or `0`, or to 1 or -1", "none", "where the column rises, predictions never fall, or never rise; not for categories";
        "weight": "a column", "none", "the column of numbers that says how much a row counts in training; it is no feature";
        "eta": "above 0, at most 1", "–", "another name of `learning_rate`";
        "min_split_loss": "a number from 0", "–", "another name of `gamma`";
        "reg_lambda": "a number from 0", "–", "another name of `lambda`";
        "reg_alpha": "a number from 0", "–", "another name of `alpha`";
        "early_stopping_rounds": "1 to 100,000", "30", "after so many rounds without a better one the learner stops";
        "validation": "a share between 0 and 1", "0.2", "the share of the training rows that early stopping watches";
        "refit": "`true` or `false`", "`true`", "after early stopping, fit again on all training rows with the rounds it found; figures of watched rows stay those of the first fit";
        "calibrate": "`true` or `false`", "`false`", "fit the probabilities to the watched rows: by a sigmoid for two classes, by a temperature for several";
    }
    "train.existing" {
        "model": "a file, a folder, or the same as a `gs://` URI", "required", "the model";
        "features": "a list of columns", "the names in the file", "the features in the model's order";
        "levels": "for a category a list of texts", "those in the file", "the texts of the category's codes, in the order of the codes from 0 on";
        "classes": "a list of the label's values", "rising; for two the positive one last", "the classes in the order of the model's outputs";
        "rounds": "1 to 1,000,000", "as many as Python's XGBoost takes", "so many rounds count, from the first on";
    }
    "validate" {
        "require": "a list of the section below, or `none`", "required", "the gates: requirements on metrics of the test rows, all of which have to pass; `none` lets every model pass";
        "on_inconclusive": "`reject` or `pass`", "`reject`", "what a gate comes to that the test rows cannot decide";
        "no_champion": "`pass` or `reject`", "`pass`", "what a comparison with the champion comes to where none serves yet";
        "unscorable_champion": "`reject` or `pass`", "`reject`", "what it comes to where the champion cannot be scored on these rows";
        "threshold": "above 0, below 1", "0.5", "of two classes the positive one is said above this probability";
        "slices": "a column or a list", "none", "columns for whose values the metrics are reported one by one";
    }
    "validate.require" {
        "metric": "a metric by scikit-learn's name: [validate.md](validate.md)", "required", "what is required of";
        "at_least": "a number that the metric can have", "one of four is required", "the metric is so high at least";
        "at_most": "a number that the metric can have", "one of four is required", "the metric is so low at least";
        "on": "`value` or `interval`", "`value`", "beside these two: what is held against the number, the value on the test rows, or the nearer end of its 95 % interval";
        "no_worse_than": "`champion`", "one of four is required", "it is shown that the metric is worse than that of the model in production by less than `by`";
        "better_than": "`champion` or `trivial`", "one of four is required", "it is shown that the metric is better, by more than `by`, than that of the model in production, or of the best prediction that is the same for every row";
        "by": "a number above 0, or a share of the other's value, as `5%`", "required beside `no_worse_than`, else 0", "the difference, in the metric's unit";
        "confidence": "0.5 to 0.999", "0.95", "beside these two: how sure it has to be, on one side";
    }
    "push" {
        "registry": "`vertex`", "`vertex`", "the registry";
    }
    "deploy" {
        "endpoint": "a word of at most 63 of `a-z`, `0-9`, `-`, or a number", "required", "the endpoint's id: a word is made where there is none, a number is one that is there";
        "machine": "a machine type", "`n1-standard-2`", "the machine of the deployed model";
        "replicas": "section", "one", "how many machines a deployed model has";
        "autoscale": "section", "60% of the processors", "when Vertex AI adds a machine, up to `replicas.max`";
        "accelerator": "section", "none", "the accelerators of each machine; `a2`, `a3`, `a4`, `a4x`, `g2` and `g4` come with theirs, which have to be named, and `n1` takes some";
        "resource_pool": "the id of a DeploymentResourcePool of the build's region", "machines of its own", "the model shares the pool's machines with others, in place of `machine`, `replicas`, `autoscale` and `accelerator`; Vertex AI takes models of one container image into a pool";
        "log_requests": "section", "what the endpoint has", "requests and answers that Vertex AI writes to BigQuery; an endpoint that is there is brought to it";
        "dedicated_endpoint": "`true` or `false`", "`false`", "an endpoint that serin makes answers at a host of its own; one that is there stays what it is, and is refused where it is none";
        "service_account": "an account's address", "the project's", "the account that the deployed model runs as";
        "stages": "a list of rising whole numbers that ends with 100", "`[5, 25, 50, 100]`", "shares of the traffic in percent";
        "bake": "a duration, at most 24 hours", "`10m`", "a stage takes at least so long, on the build's clock";
        "min_requests": "1 to 1,000,000,000", "500", "a stage is judged on at least so many requests to the new version";
        "max_wait": "a duration, at most 24 hours", "`1h`", "a stage waits for them so much longer";
        "limits": "section", "see below", "what a canary may not exceed";
        "alpha": "a probability above 0, at most 0.5", "0.01", "how likely a rollout of a challenger that is no worse is rolled back, at most, however often it is looked at: [judge.md](judge.md)";
        "margin": "section", "see below", "by how much the new version may be worse than the one in production";
        "promote_on": "`no_harm` or `not_worse`", "`no_harm`", "`no_harm`: a stage passes where no harm is seen and severe errors are excluded; `not_worse`: the last stage beside the champion has to show that the new version is not worse by more than the margin, which takes many more requests";
        "keep": "a duration, at most 24 hours", "none", "after a promotion the version before stays deployed without traffic for so long, which costs its machine; `serin deploy --rollback` gives it the traffic back";
        "approve": "`before_first`, `each_stage` or `before_100`", "none", "before which stages a rollout waits for `serin deploy --approve`; what has traffic meanwhile is judged on";
        "approve_within": "a duration, at most 30 days", "`24h`", "how long it waits; then the rollout is held";
        "take_over": "`true` or `false`", "`false`", "a model that serin did not deploy and that has the traffic is held for the champion: it is undeployed when a new version is promoted";
        "share_with_others": "`true` or `false`", "`false`", "models that serin did not deploy keep their share of the traffic, and a rollout divides the rest";
        "on_cancel": "`rollback` or `hold`", "`rollback`", "what becomes of the traffic when the build is cancelled: `rollback` gives it back to the champion, `hold` leaves it as it is, and nobody watches until the next run";
        "replay": "section", "none", "test rows that are sent along while a stage is judged; what they see is held against the metrics";
    }
    "deploy.replicas" {
        "min": "1 to 1000", "1", "so many machines at least; each costs from the deployment on";
        "max": "`min` to 1000", "`min`", "so many at most";
    }
    "deploy.autoscale" {
        "cpu": "1 to 100", "none", "the use of the processors in percent above which a machine is added";
        "accelerator": "1 to 100", "none", "the same of the accelerators' duty cycle";
    }
    "deploy.accelerator" {
        "type": "a type of Vertex AI's, as in `NVIDIA_TESLA_T4`", "required", "which";
        "count": "1, 2, 4, 8 or 16", "1", "how many of each machine";
    }
    "deploy.log_requests" {
        "table": "`bq://project`, `bq://project.dataset` or `bq://project.dataset.table`", "required", "where to; Vertex AI makes the dataset and the table that are not named";
        "sample": "a share above 0, at most 1, also in percent", "`100%`", "which share of the requests; each logged row is billed by BigQuery";
    }
    "deploy.limits" {
        "error_rate": "a share from 0 to 1", "0.01", "the share of requests that may fail where no champion answers beside: all answers but 2xx, or the server's own (5xx, 429) where there never was a champion; a champion's higher rate is allowed too";
        "latency_p95": "a duration, at most 10 minutes", "`500ms`", "the 95th percentile of the latency, in real time";
    }
    "deploy.margin" {
        "errors": "a share from 0 to 1, also in percent", "a fiftieth of `limits.error_rate`", "so much more of the requests may fail than of the champion's";
        "latency": "a share from 0 to 10, also in percent", "`10%`", "answers may be slower by this share, and by a fiftieth of `limits.latency_p95` where that is more";
        "predictions": "1 to 100", "1.25", "the share of a bin of predictions may be so many times what the test rows promise, or one so many-th";
    }
    "deploy.replay" {
        "from": "`test`", "required", "which rows are sent";
        "concurrency": "1 to 256", "8", "how many requests are under way at a time";
    }
    "triggers" {
        "project": "a project's id", "that of the command", "the project in which triggers and jobs are made";
        "region": "a region", "that of the command", "the region of Cloud Scheduler, Eventarc and the Cloud Run service";
        "service_account": "an account's address", "the project's", "the account that the builds run as; it is named, not made";
        "commit": "section", "no commit starts a build", "the repository that builds are made from, and which commits start one";
        "build": "section", "see below", "what is built for the other causes";
        "listen": "section", "required for what Google Cloud is to call", "`serin listen`, or a function in its place, as others reach it";
        "check": "section", "every hour", "when Cloud Scheduler calls `listen` to look at the data and the model; where `new_data`, `performance` or `drift` is asked for";
        "schedule": "section", "none", "starts a build at these times";
        "new_data": "section", "none", "starts a build when there is so much new data";
        "performance": "section", "none", "starts a build when the champion's metric is bad";
        "drift": "section", "none", "starts a build when the data drifted from the champion's";
        "limits": "section", "see below", "what holds a build back though there is a cause";
    }
    "triggers.commit" {
        "source": "`csr`", "one of four is required", "a repository of Cloud Source Repositories, named by `repo`";
        "repo": "a repository's name", "required beside `source`", "the repository in the project";
        "github": "`owner/name`", "one of four is required", "a repository of GitHub, on which Cloud Build's app is installed";
        "developer_connect": "`projects/P/locations/L/connections/C/gitRepositoryLinks/R`", "one of four is required", "a repository of Developer Connect";
        "connection": "`projects/P/locations/L/connections/C/repositories/R`", "one of four is required", "a repository of a connection of Cloud Build's";
        "branch": "a regular expression of RE2", "one of both is required", "pushes to branches whose name it is found in start a build";
        "tag": "a regular expression of RE2", "one of both is required", "the same for tags";
        "included_files": "a list of globs", "any file", "one of the changed files has to match one of them";
        "ignored_files": "a list of globs", "none", "changes of files that match do not count";
        "disabled": "`true` or `false`", "`false`", "commits start nothing; the other causes build from this repository";
    }
    "triggers.build" {
        "config": "a file's path from the repository's root", "`cloudbuild.yaml`", "the build's config, for commits too";
        "branch": "a branch's name", "that of `commit.branch`, where it is one name as in `^main$`", "the branch that is built for causes that are no commit";
    }
    "triggers.listen" {
        "service": "a Cloud Run service", "one of both is required", "the service in the region; Eventarc tells it of new objects";
        "url": "`https://…`, or `http://` on this machine", "one of both is required", "an address of another kind; a topic of Pub/Sub tells it of new objects";
        "service_account": "an account's address", "required", "the account whose token Cloud Scheduler, Pub/Sub and Eventarc send; it is named, not made";
        "audience": "a text", "the service's URL", "what the tokens are for";
        "topic": "a topic's name", "none", "a topic of Pub/Sub whose messages wake it, too; it is made, and pushed from";
    }
    "triggers.check" {
        "cron": "five fields: minute, hour, day of the month, month, day of the week", "required", "the times";
        "time_zone": "a name of the tz database", "`Etc/UTC`", "where the times are those of the clock on the wall";
    }
    "triggers.schedule" {
        "cron": "five fields: minute, hour, day of the month, month, day of the week", "required", "the times";
        "time_zone": "a name of the tz database", "`Etc/UTC`", "where the times are those of the clock on the wall";
    }
    "triggers.new_data" {
        "rows": "a whole number from 1", "one of three is required", "so many rows more than the champion's snapshot was made from";
        "share": "a number above 0, at most 100", "one of three is required", "such a share of those rows more";
        "objects": "`gs://BUCKET/FOLDER/`", "one of three is required", "objects in the folder that came after the champion's snapshot";
    }
    "triggers.performance" {
        "metric": "a metric by scikit-learn's name", "required", "what is measured on labels that came later";
        "below": "a number", "required where higher is better", "the metric is bad below it";
        "above": "a number", "required where lower is better", "the metric is bad above it";
        "labels": "section", "required", "the truth about past predictions";
    }
    "triggers.performance.labels" {
        "bigquery": "`project.dataset.table`, also with `bq://`", "one of both is required", "a table or view of BigQuery";
        "local": "a file, a pattern, a folder, or the same as a `gs://` URI", "one of both is required", "files, as in `data.tables`";
        "key": "a column or a list", "required", "the columns by which a label finds its prediction";
        "column": "a column", "`data.label.column`", "the column with the truth";
        "delay": "a duration, at most 366 days", "none", "so long after the prediction its label is known";
    }
    "triggers.drift" {
        "against": "`champion`, or a profile's file", "`champion`", "as in `lint.drift`";
        "psi": "a number above 0", "0.2", "as in `lint.drift`";
        "jensen_shannon": "above 0, at most 1", "not judged", "as in `lint.drift`";
        "l_infinity": "above 0, at most 1", "not judged", "as in `lint.drift`";
        "kolmogorov_smirnov": "above 0, at most 1", "not judged", "as in `lint.drift`";
        "fdr": "a rate between 0 and 1", "0.05", "as in `lint.drift`";
        "min_rows": "a whole number from 1", "200", "as in `lint.drift`";
        "weighted_by": "`importance`", "every column counts alike", "a column's drift counts by the share of the champion's gain that it has";
        "columns": "columns to `off`, or to the section below", "as all others", "limits of single columns";
    }
    "triggers.drift.columns.*" {
        "psi": "a number above 0", "that of `triggers.drift`", "as there, for this column";
        "jensen_shannon": "above 0, at most 1", "that of `triggers.drift`", "as there, for this column";
        "l_infinity": "above 0, at most 1", "that of `triggers.drift`", "as there, for this column";
        "kolmogorov_smirnov": "above 0, at most 1", "that of `triggers.drift`", "as there, for this column";
    }
    "triggers.limits" {
        "cool_down": "a duration, at most 366 days, or `0s`", "`6h`", "so long after a build's start no other is started";
        "per_day": "1 to 1000", "4", "so many builds are started in 24 hours, of all models that share the bucket";
        "one_at_a_time": "`true` or `false`", "`true`", "no build is started while another of them runs";
    }
    "monitor" {
        "window": "a duration, at most 366 days", "`1d`", "how much of the log one look is about";
        "requests": "section", "the table that the endpoint is told to log to", "the log of the endpoint's predictions";
    }
    "monitor.requests" {
        "bigquery": "`project.dataset.table`, also with `bq://`", "one of both is required", "the table, in Google's columns";
        "local": "a file, a pattern, a folder, or the same as a `gs://` URI", "one of both is required", "files of JSON Lines, CSV or Parquet with the same columns";
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Also begins the page, so that it says where it comes from.
    const HEAD: &str = "# The fields of `serin.yaml`

<!-- Made of the rows of src/config/fields.rs: `UPDATE_DOCS=1 cargo nextest run the_page_of_fields` writes it anew. -->

A field that serin does not know is an error with line, column and the nearest field. Paths are relative to the file.
A duration is written as in `90s`, `10m`, `1h30m`, `30d` or `500ms`. `*` stands for a name of yours.
";

    #[test]
    fn the_page_of_fields_is_that_of_the_reader() {
        let mut page = HEAD.to_owned();
        for (section, rows) in ROWS {
            let title = match *section {
                "" => "At the top".to_owned(),
                section => format!("`{section}`"),
            };
            let head = "| field | takes | default | meaning |\n|---|---|---|---|";
            writeln!(page, "\n## {title}\n{head}").unwrap();
            for [name, values, default, meaning] in *rows {
                writeln!(page, "| `{name}` | {values} | {default} | {meaning} |").unwrap();
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/serin.yaml.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == page,
            "{path} is old: UPDATE_DOCS=1 writes it anew"
        );
    }
}
