//! `triggers.commit`: the repository, and which of its commits start a build.

use anyhow::Result;

use crate::error::Place;
use crate::settings::{Cursor, Fields};

/// Where the code is, and which commits start a build.
#[derive(Clone, Debug)]
pub struct Commit {
    pub repository: Repository,
    pub events: Events,
    /// Globs of files of which one has to change; any file where empty.
    pub included_files: Vec<String>,
    /// Globs of files whose changes do not count.
    pub ignored_files: Vec<String>,
    /// Whether commits start nothing, and only the other causes build from here.
    pub disabled: bool,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// Cloud Source Repositories: the name in the project.
    SourceRepositories(String),
    /// GitHub through Cloud Build's app.
    GitHub { owner: String, name: String },
    /// `projects/P/locations/L/connections/C/gitRepositoryLinks/R`.
    DeveloperConnect(String),
    /// `projects/P/locations/L/connections/C/repositories/R`, a connection of Cloud Build's.
    Connection(String),
}

/// The pushes that count, by a regular expression of RE2 that is found anywhere in the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    Branch(String),
    Tag(String),
}

impl Events {
    /// The branch, where the expression is no more than its name, as in `^main$`.
    pub(super) fn only_branch(&self) -> Option<&str> {
        let Self::Branch(pattern) = self else {
            return None;
        };
        let name = pattern.strip_prefix('^').unwrap_or(pattern);
        let name = name.strip_suffix('$').unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        (!name.is_empty() && name.chars().all(plain)).then_some(name)
    }
}

impl Repository {
    /// The location of Cloud Build in which triggers of this repository stand.
    pub fn location(&self) -> &str {
        match self {
            Self::DeveloperConnect(name) | Self::Connection(name) => {
                name.split('/').nth(3).unwrap_or("global")
            }
            Self::SourceRepositories(_) | Self::GitHub { .. } => "global",
        }
    }
}

pub(super) fn commit(field: Cursor) -> Result<Commit> {
    let place = field.place();
    let fields = field.fields("triggers.commit")?;
    let disabled = fields.get("disabled");
    Ok(Commit {
        repository: repository(&fields)?,
        events: events(&fields)?,
        included_files: globs(&fields, "included_files")?,
        ignored_files: globs(&fields, "ignored_files")?,
        disabled: disabled.map_or(Ok(false), |f| f.word(&[("true", true), ("false", false)]))?,
        place,
    })
}

fn repository(fields: &Fields) -> Result<Repository> {
    let ways = ["source", "github", "developer_connect", "connection"];
    let (way, field) = fields.one(&ways)?;
    if way != "source" {
        fields.refuse("repo", "has a meaning beside `source: csr` only")?;
    }
    match way {
        "source" => {
            field.word(&[("csr", ())])?;
            let repo = fields.need("repo")?.text_where(
                "a repository of Cloud Source Repositories: at most 128 letters, digits or `-_./`",
                is_repo,
            )?;
            Ok(Repository::SourceRepositories(repo.value))
        }
        "github" => field.value("a repository `owner/name` of GitHub", |text| {
            let (owner, name) = text.split_once('/')?;
            let plain = |text: &str| {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                !text.is_empty() && text.chars().all(plain) && !matches!(text, "." | "..")
            };
            (plain(owner) && plain(name)).then(|| Repository::GitHub {
                owner: owner.to_owned(),
                name: name.to_owned(),
            })
        }),
        "developer_connect" => {
            connected(&field, "gitRepositoryLinks").map(Repository::DeveloperConnect)
        }
        _ => connected(&field, "repositories").map(Repository::Connection),
    }
}

/// The full name of a repository of a connection.
fn connected(field: &Cursor, kind: &str) -> Result<String> {
    let what = format!("a name such as `projects/P/locations/us-central1/connections/C/{kind}/R`");
    let name = field.text_where(&what, |text| {
        let parts: Vec<&str> = text.split('/').collect();
        let [
            projects,
            project,
            locations,
            location,
            connections,
            connection,
            found,
            repo,
        ] = parts[..]
        else {
            return false;
        };
        let plain = |part: &&str| !part.is_empty() && !part.contains(char::is_whitespace);
        [projects, locations, connections, found] == ["projects", "locations", "connections", kind]
            && [project, location, connection, repo].iter().all(plain)
    })?;
    Ok(name.value)
}

fn is_repo(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    text.len() <= 128
        && text.chars().all(plain)
        && !text.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn events(fields: &Fields) -> Result<Events> {
    let (name, field) = fields.one(&["branch", "tag"])?;
    let pattern = expression(&field)?;
    Ok(match name {
        "branch" => Events::Branch(pattern),
        _ => Events::Tag(pattern),
    })
}

/// A regular expression that RE2 takes.
fn expression(field: &Cursor) -> Result<String> {
    let text = field.text("a regular expression such as `^main$`")?;
    match regex_syntax::parse(&text) {
        Ok(_) => Ok(text.value),
        Err(wrong) => {
            let wrong = match &wrong {
                regex_syntax::Error::Parse(wrong) => wrong.kind().to_string(),
                regex_syntax::Error::Translate(wrong) => wrong.kind().to_string(),
                wrong => wrong.to_string(),
            };
            Err(field
                .error(format!("no regular expression of RE2: {wrong}"))
                .into())
        }
    }
}

/// One glob or a list of them, of files from the repository's root.
fn globs(fields: &Fields, name: &str) -> Result<Vec<String>> {
    let Some(field) = fields.get(name) else {
        return Ok(Vec::new());
    };
    let what = "a list of globs from the repository's root, as in `[models/churn/**]`";
    let items = field.list(what)?;
    let read = items.iter().map(|item| {
        let glob = item.text("a glob from the repository's root, as in `models/churn/**`")?;
        match wrong_glob(&glob) {
            Some(wrong) => Err(item.error(wrong).into()),
            None => Ok(glob.value),
        }
    });
    read.collect()
}

/// What makes a glob one that no file can match, or that is none.
fn wrong_glob(glob: &str) -> Option<&'static str> {
    if glob.starts_with('/') {
        return Some(
            "expected a glob without the first `/`: files are named from the repository's root",
        );
    }
    if glob.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some(
            "expected a glob without the parts `.` and `..`, and nothing empty between `/`",
        );
    }
    let open = glob.rfind('[')?;
    let closed = glob
        .get(open + 1..)
        .is_some_and(|rest| rest.rfind(']') > Some(0));
    (!closed).then_some("expected a `]` for every `[`")
}
