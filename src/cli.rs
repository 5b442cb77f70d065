//! The clap tree, nothing else. `--help` is the manual: what a command reads, writes and exits with.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXITS: &str = "\
Exit codes:
  0    done
  1    rejected by a check, gate or canary
  2    the input is wrong: a flag, a config, a file that cannot be opened or is no table
  3    the cloud failed, after retries, or another build leads the rollout: run it again
  4    a bug
  130  interrupted (SIGINT), 143 terminated (SIGTERM), after cleaning up";

const PROFILE_EXAMPLES: &str = "\
Examples:
  serin profile data/usage.csv
  serin profile train.parquet test.parquet --html page.html
  serin profile 'days/*.csv.gz' --format json --sketches > days.json
  serin profile week1.json week2.json --merge --column amount

";

/// Every step of a machine-learning cloudbuild.yaml on Google Cloud, and the build itself on a laptop.
#[derive(Debug, Parser)]
#[command(name = "serin", version, after_help = EXITS, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the tables and freeze a snapshot of them
    ///
    /// Reads serin.yaml, its tables (CSV, JSON Lines or Parquet, on disk or gs://) and schema.yaml. Writes
    /// .serin/lint.json, .serin/data/{train,test}.parquet with .serin/profile.json, .serin/drift.json where
    /// `lint.drift` asks for it and, unless the data is rejected, .serin/dataset.json.
    ///
    /// With --infer it writes the first schema.yaml, with --update it changes the present one where the tables
    /// ask for it: new values, wider ranges, columns that came or went.
    #[command(after_help = EXITS)]
    Lint(LintFlags),
    /// Train the model of the snapshot in a Vertex AI custom job
    ///
    /// Reads .serin/dataset.json. Uploads the snapshot, runs `serin fit` in a job or finds the job that an
    /// equal build ran, follows its log and writes .serin/train.json and .serin/model/.
    #[command(after_help = EXITS)]
    Train(TrainFlags),
    /// Score the model and the champion on the test rows and apply the gates
    ///
    /// Reads .serin/train.json and .serin/dataset.json. Writes .serin/validate.json. Exits with 1 where a
    /// gate rejects or has too little evidence.
    #[command(after_help = EXITS)]
    Validate(CommonFlags),
    /// Upload the model and register it as a version in the Model Registry
    ///
    /// Reads .serin/validate.json and .serin/model/. Writes .serin/push.json. A digest that is registered
    /// already is found, not made again.
    #[command(after_help = EXITS)]
    Push(PushFlags),
    /// Roll the version out to its endpoint as a canary
    ///
    /// Reads .serin/push.json. Deploys beside the champion, moves traffic in stages while it reads Cloud
    /// Monitoring, then promotes or rolls back. Writes .serin/deploy.json. Exits with 1 where it rolled back.
    #[command(after_help = EXITS)]
    Deploy(CommonFlags),
    /// Run a cloudbuild.yaml on this machine, with serin's own emulator as its cloud
    ///
    /// Copies the source into a workspace, starts the emulator and runs the steps as Cloud Build would. Writes
    /// only its state folder, .serin/ beside the config, so that the next run finds this run's champion, and
    /// the workspace, which is kept until the next run. Steps of images that are not serin's own run in
    /// containers, where `docker` finds an engine, or by programs of this machine that --host names.
    /// Exits with the code of the first step that failed where its image is serin's own, else 1.
    ///
    /// With --check it runs nothing: it says whether Cloud Build would accept the configs, writes a line
    /// for each one that it would, and exits with 2 where one is refused.
    #[command(after_help = EXITS)]
    Run(Box<RunFlags>),
    /// Serve the emulated cloud on one port: Vertex AI, Cloud Storage, Monitoring, Logging and Build
    ///
    /// Reads and writes its state folder, which no other serin may use meanwhile. Ends with SIGINT or SIGTERM.
    /// `eval "$(serin emulate env)"` points the clients of a shell at it.
    #[command(after_help = EXITS, args_conflicts_with_subcommands = true)]
    Emulate(EmulateFlags),
    /// Fit the built-in learner; what the default training container runs
    ///
    /// Reads the specification and the training data, writes model.bst and model.json.
    #[command(after_help = EXITS)]
    Fit(FitFlags),
    /// Serve a model directory; what the default serving container runs
    ///
    /// Reads AIP_STORAGE_URI or --model, listens on AIP_HTTP_PORT, answers AIP_HEALTH_ROUTE and
    /// AIP_PREDICT_ROUTE as Vertex AI's contract says. Ends with SIGTERM after the open requests.
    ///
    /// Listens on 127.0.0.1, and in a container on 0.0.0.0: where a variable AIP_… or K_SERVICE is set, as Vertex AI
    /// and Cloud Run do. A request may hold 1,500,000 bytes and 10,000 instances, fewer where the model has more
    /// than ten classes (100,000 scores). A client that takes more than ten seconds for a request's head is cut off, and one
    /// that stops in the middle of a body or an answer after 30. What is too much at a time is answered with 429; the
    /// health route is answered all the same.
    #[command(after_help = EXITS)]
    Serve(ServeFlags),
    /// Profile any table, for a first look
    ///
    /// Reads CSV (also packed with gzip or zstd), JSON Lines and Parquet, told apart by their bytes. Needs no
    /// config and no project. A TABLE is a file, a pattern in quotes, a folder, or the same as a gs:// URI,
    /// which is fetched first; several TABLEs are several tables. A file that `serin profile --format json`
    /// wrote is a TABLE too: its profile is taken as it is.
    ///
    /// Prints a line a column, then what is worth a look, the worst first. `--column` shows one column in full,
    /// `--html` writes a page with every column's histogram, of up to three tables over each other.
    #[command(after_help = format!("{PROFILE_EXAMPLES}{EXITS}"))]
    Profile(ProfileFlags),
    /// Write a first serin.yaml, schema.yaml and cloudbuild.yaml from a look at the data
    ///
    /// Reads the tables, overwrites nothing.
    #[command(after_help = EXITS)]
    Init(InitFlags),
    /// Say who serin is to Google Cloud: the account, from which source, until when
    ///
    /// Reads the variables that Google's own libraries read, the credentials file that one of them names or
    /// gcloud wrote, else the metadata server or gcloud, and asks for an access token. Writes nothing, and
    /// prints never the token: the account, the source, the project that requests are counted for, the end
    /// of the token and its scopes, and what is redirected to an emulator and carries no token.
    ///
    /// Exits with 0 where there is a token, or none is needed since every service is redirected; with 2 where
    /// there are no credentials, or they are refused or of a kind that serin does not take; with 3 where the
    /// server that gives tokens failed for two minutes.
    #[command(after_help = EXITS)]
    Auth(AuthFlags),
    /// End the children of a serin that is gone (started by serin itself)
    #[command(hide = true)]
    Watchdog,
}

#[derive(Debug, Args)]
pub struct ConfigFlag {
    /// What the build is about
    #[arg(
        long,
        value_name = "FILE",
        default_value = "serin.yaml",
        env = "SERIN_CONFIG"
    )]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct CommonFlags {
    /// The project, by id
    #[arg(long, env = "SERIN_PROJECT")]
    pub project: String,
    /// The location of job, model and endpoint
    #[arg(long, env = "SERIN_REGION")]
    pub region: String,
    #[command(flatten)]
    pub config: ConfigFlag,
}

#[derive(Debug, Args)]
pub struct LintFlags {
    /// The project, by id; asked for where `lint.drift` looks for the champion
    #[arg(long, env = "SERIN_PROJECT")]
    pub project: Option<String>,
    /// The location of job, model and endpoint; likewise
    #[arg(long, env = "SERIN_REGION")]
    pub region: Option<String>,
    #[command(flatten)]
    pub config: ConfigFlag,
    /// Which of a table's places to read
    #[arg(long, value_enum, default_value = "local", env = "SERIN_SOURCE")]
    pub source: crate::steps::lint::Source,
    /// Say what a check is for, and check nothing
    #[arg(long, value_name = "CHECK")]
    pub explain: Option<String>,
    /// Write a first schema.yaml from the tables, and check nothing
    #[arg(long, conflicts_with = "update")]
    pub infer: bool,
    /// Add to schema.yaml what the tables ask for, show the diff, and check nothing
    #[arg(long)]
    pub update: bool,
    /// With --infer print the schema, with --update the diff, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct TrainFlags {
    #[command(flatten)]
    pub common: CommonFlags,
    /// The image of serin that the job runs
    #[arg(long, env = "SERIN_IMAGE")]
    pub image: String,
    /// The learner's seed: row sampling and the split for early stopping
    #[arg(long, default_value_t = 1, env = "SERIN_SEED")]
    pub seed: u64,
    /// Instead of train.builtin.max_depth
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=30), env = "SERIN_MAX_DEPTH")]
    pub max_depth: Option<u32>,
}

#[derive(Debug, Args)]
pub struct PushFlags {
    #[command(flatten)]
    pub common: CommonFlags,
    /// The image of serin that serves the model; in the model's own region
    #[arg(long, env = "SERIN_IMAGE")]
    pub image: String,
}

#[derive(Debug, Args)]
pub struct RunFlags {
    /// A folder with a cloudbuild.yaml, or the file; several with --check
    #[arg(default_value = ".")]
    pub sources: Vec<PathBuf>,
    /// Another config in or beside the folder
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub config: Option<PathBuf>,
    /// Only check the configs, as Cloud Build does at submission
    #[arg(long)]
    pub check: bool,
    /// Values for the build's substitutions; may be given several times
    #[arg(short, long, value_name = "KEY=VALUE,…")]
    pub substitutions: Vec<String>,
    /// Run this step alone, by id or number, in the workspace that the last build left; repeatable
    #[arg(long, value_name = "STEP")]
    pub only: Vec<String>,
    /// Run this step and those behind it, in the workspace that the last build left
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    pub from: Option<String>,
    /// Lines for people, or a JSON object for each event
    #[arg(long, value_enum, default_value = "text")]
    pub format: crate::cloudbuild::Format,
    /// The build's id
    #[arg(long, value_name = "ID", hide = true)]
    pub build_id: Option<String>,
    /// The build was submitted by the API, at this location: its source is whole, git tells nothing
    #[arg(long, value_name = "LOCATION", hide = true)]
    pub submitted: Option<String>,
    /// Print the config's message as it stands in the file, nothing filled in
    #[arg(long, hide = true, requires = "check", conflicts_with = "submitted")]
    pub as_written: bool,
    /// Copy what symbolic links lead to also where that is outside of the folder
    #[arg(long, conflicts_with_all = ["check", "submitted"])]
    pub follow_links: bool,
    /// Where to put the build's workspace [default: in the state folder]
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    #[command(flatten)]
    pub cloud: CloudFlags,
    /// How many times faster than real time the waits of the build go by; what it computes takes the time that it takes
    #[arg(long, value_name = "N", default_value_t = crate::emulator::DEFAULT_TIME_SCALE,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub time_scale: u32,
    /// Use an emulator that runs already, or a proxy before it
    #[arg(long, value_name = "URL", conflicts_with_all = ["time_scale", "faults", "seed_from"])]
    pub emulator: Option<String>,
}

#[derive(Debug, Args)]
pub struct CloudFlags {
    /// Where the emulated cloud keeps its state [default: .serin beside the config]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// An image that is serin's own, beside those whose repository ends in `serin`
    #[arg(long = "self", value_name = "IMAGE")]
    pub own_images: Vec<String>,
    /// Something that goes wrong in the emulated cloud, as in canary:error:0.5; may be given several
    /// times, and --help lists them all
    #[arg(long = "fault", value_name = "FAULT", long_help = crate::emulator::faults::HELP)]
    pub faults: Vec<crate::emulator::faults::Fault>,
    /// A folder of buckets that the emulated cloud begins with: DIR/BUCKET/path/to/object
    ///
    /// Each file becomes an object, unless the bucket has one of that name with equal bytes. Links to files
    /// are followed, links to folders refused.
    #[arg(long, value_name = "DIR")]
    pub seed_from: Option<PathBuf>,
    /// Where the emulated Cloud Build clones a repository from: a folder or an address; NAME is as in
    /// REPO, OWNER/REPO or projects/P/locations/L/connections/C/repositories/R
    #[arg(long = "repository", value_name = "NAME=PATH", value_parser = repository)]
    pub repositories: Vec<(String, String)>,
    /// A file with the value of a variable in a build's `secretEnv`; never shown in a log
    #[arg(long = "secret", value_name = "NAME=@FILE")]
    pub secrets: Vec<String>,
    /// Whose programs a request to the emulated cloud may run on this machine
    ///
    /// For builds that are created and triggers that are run there. The emulator asks nobody who they are:
    /// whoever reaches its port may run what this allows. serin's own image in jobs and behind endpoints
    /// always runs.
    #[arg(long, value_enum, value_name = "WHOSE", default_value = "off")]
    pub builds: crate::emulator::Builds,
    /// A program of this machine in place of an image, as in python:*=python3; may be given several times
    ///
    /// IMAGE is a pattern with * and ?, compared with and without the tag; the first that matches counts. Without
    /// PROGRAM the step's entrypoint is run, or gcr.io/cloud-builders/NAME as NAME, or the first of the step's args,
    /// as for an image that has no entrypoint. The program runs in the workspace with the step's environment and
    /// this machine's PATH.
    #[arg(long = "host", value_name = "IMAGE[=PROGRAM]")]
    pub hosts: Vec<crate::cloudbuild::HostImage>,
}

fn repository(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.to_owned()))
        }
        _ => Err("expected NAME=PATH".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct EmulateFlags {
    #[command(subcommand)]
    pub command: Option<EmulateCommand>,
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8085)]
    pub port: u16,
    /// A name by which requests may call the emulator, beside localhost and 127.0.0.1, as that of a proxy before
    /// it; may be given several times
    #[arg(long = "allow-host", value_name = "NAME", value_parser = host)]
    pub allowed_hosts: Vec<String>,
    #[command(flatten)]
    pub cloud: CloudFlags,
    /// How many times faster than real time the emulator's clock goes, unless a build works under it
    ///
    /// A client that tells the time by its own clock may then miss what was just written, or find it in the future.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub time_scale: u32,
}

fn host(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
    match text.parse::<axum::http::uri::Authority>() {
        Ok(name) if name.port().is_none() && text.chars().all(is_part) => Ok(text.to_owned()),
        _ => Err("expected a host's name or address, without scheme and port".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub enum EmulateCommand {
    /// Print the variables that point gcloud, bq and the SDKs at an emulator, for sh and bash
    ///
    /// Use it as `eval "$(serin emulate env)"`. What no variable reaches is said in comments.
    Env(EnvFlags),
}

#[derive(Debug, Args)]
pub struct EnvFlags {
    /// The emulator's port on 127.0.0.1
    #[arg(long, default_value_t = 8085)]
    pub port: u16,
    /// The emulator's address, where it is another machine's or behind a proxy
    #[arg(long, value_name = "URL", conflicts_with = "port")]
    pub url: Option<String>,
    /// The clients' project [default: CLOUDSDK_CORE_PROJECT, GOOGLE_CLOUD_PROJECT or local-project]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

#[derive(Debug, Args)]
pub struct FitFlags {
    /// What to fit, written by `serin train`; a path or gs:// URI
    #[arg(long = "spec", value_name = "URI")]
    pub specification: String,
    /// The training data; a path or gs:// URI
    #[arg(long, value_name = "URI", env = "AIP_TRAINING_DATA_URI")]
    pub training_data: String,
    /// Where the model goes; a path or gs:// URI
    #[arg(long, value_name = "URI", env = "AIP_MODEL_DIR")]
    pub model_dir: String,
    /// The Cloud KMS key that encrypts the model's objects, by its full name
    #[arg(long, value_name = "KEY", env = "SERIN_ENCRYPTION_KEY")]
    pub encryption_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct ServeFlags {
    /// The model directory; a path or gs:// URI
    #[arg(long, value_name = "URI", env = "AIP_STORAGE_URI")]
    pub model: String,
    #[arg(long, default_value_t = 8080, env = "AIP_HTTP_PORT")]
    pub port: u16,
    /// The address to listen on [default: 127.0.0.1, in a container 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<std::net::IpAddr>,
    #[arg(long, default_value = "/health", env = "AIP_HEALTH_ROUTE", value_parser = route)]
    pub health_route: String,
    #[arg(long, default_value = "/predict", env = "AIP_PREDICT_ROUTE", value_parser = route)]
    pub predict_route: String,
}

fn route(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("expected a path that begins with `/`".into()),
    }
}

#[derive(Debug, Args)]
pub struct ProfileFlags {
    /// Files, patterns in quotes, folders, gs:// URIs, or profiles written as JSON
    #[arg(required = true, value_name = "TABLE")]
    pub tables: Vec<String>,
    /// A table for people, or a JSON object a table, a line each; docs/profile.md names its fields
    #[arg(long, value_enum, default_value = "text")]
    pub format: crate::steps::profile::Format,
    /// Write a page of up to three tables over each other, which needs no network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print this column in full: quantiles, histogram, most frequent values
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Print all columns and all that is worth a look
    #[arg(long)]
    pub all: bool,
    /// The column to predict: the others are told by how much they tell about it
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,
    /// What stands between the fields of a CSV: a character, or `tab` [default: found out]
    #[arg(long, value_name = "C", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// How the letters of a text are written, such as `latin-1`, `utf-16le` or `shift_jis`
    /// [default: UTF-8, or what a byte order mark says]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    pub encoding: Option<crate::config::Encoding>,
    /// Keep in the JSON what a merge needs
    #[arg(long)]
    pub sketches: bool,
    /// Make one profile of all tables, as of shards or days
    #[arg(long)]
    pub merge: bool,
}

fn encoding(label: &str) -> Result<crate::config::Encoding, String> {
    let none = || {
        let hint = crate::config::encoding_hint(label);
        format!("there is no such encoding; {hint}")
    };
    crate::config::encoding(label).ok_or_else(none)
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [c] if (c.is_ascii_punctuation() && *c != b'"') || matches!(c, b'\t' | b' ') => Ok(*c),
        _ => Err("expected one character such as `;`, or `tab`".into()),
    }
}

#[derive(Debug, Args)]
pub struct InitFlags {
    /// The files: CSV, JSON Lines or Parquet
    #[arg(required = true, value_name = "TABLE")]
    pub tables: Vec<PathBuf>,
    /// The column to predict
    #[arg(long, value_name = "COLUMN")]
    pub label: String,
    /// The column that several tables share
    #[arg(long, value_name = "COLUMN")]
    pub join_on: Option<String>,
    /// Where to write the files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct AuthFlags {
    /// Lines for people, or a JSON object
    #[arg(long, value_enum, default_value = "text")]
    pub format: crate::steps::auth::Format,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
