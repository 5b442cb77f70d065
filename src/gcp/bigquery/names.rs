//! Names of tables, and the labels of jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::Input;

/// A table, a view or, with a `*` at its end, all tables whose names begin alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TableName {
    /// As in `my-project`, or `example.com:my-project` in a domain's own.
    pub project: String,
    pub dataset: String,
    /// As in `events_*` for tables that are one for each day.
    pub table: String,
}

impl TableName {
    /// Whether it stands for all tables whose names begin alike, of which only queries know.
    pub(crate) fn is_wildcard(&self) -> bool {
        self.table.ends_with('*')
    }

    /// As GoogleSQL takes it, in back quotes.
    pub(crate) fn sql(&self) -> String {
        let mut sql = String::from("`");
        for c in self.to_string().chars() {
            if matches!(c, '`' | '\\') {
                sql.push('\\');
            }
            sql.push(c);
        }
        sql.push('`');
        sql
    }
}

/// `project.dataset.table`.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

impl FromStr for TableName {
    type Err = Input;

    /// Reads `project.dataset.table`, also after `bq://`, in back quotes, and with the colon of legacy SQL
    /// after the project. What the characters may be is Google's.
    fn from_str(text: &str) -> Result<Self, Input> {
        let wrong = |why: &str| Input::new(format!("`{text}` is no table of BigQuery: {why}"));
        let bare = text.strip_prefix("bq://").unwrap_or(text);
        let bare = unquoted(bare).ok_or_else(|| wrong("its back quotes do not match"))?;
        // The last colon ends a domain, or in legacy SQL the project.
        let (before, after) = match bare.rsplit_once(':') {
            Some((before, after)) => (Some(before), after),
            None => (None, bare.as_str()),
        };
        let parts: Vec<&str> = after.split('.').collect();
        let (project, dataset, table) = match (before, parts.as_slice()) {
            (None, &[project, dataset, table]) => (project.to_owned(), dataset, table),
            (Some(project), &[dataset, table]) => (project.to_owned(), dataset, table),
            (Some(domain), &[project, dataset, table]) => {
                (format!("{domain}:{project}"), dataset, table)
            }
            (None, &[_, _] | &[_]) => {
                return Err(wrong("it names no project, as in `project.dataset.table`"));
            }
            _ => return Err(wrong("it is not of the form `project.dataset.table`")),
        };
        let name = Self {
            project,
            dataset: dataset.to_owned(),
            table: table.to_owned(),
        };
        name.check().map_err(wrong)?;
        Ok(name)
    }
}

impl TableName {
    /// What is wrong with a part.
    fn check(&self) -> Result<(), &'static str> {
        if [&self.project, &self.dataset, &self.table]
            .iter()
            .any(|part| part.is_empty())
        {
            return Err("a part of it is empty");
        }
        // A domain's own projects have its name before a colon; an id itself has neither colon nor dot.
        let (domain, id) = self
            .project
            .rsplit_once(':')
            .map_or((None, self.project.as_str()), |(domain, id)| {
                (Some(domain), id)
            });
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if !word(id) {
            return Err("a project's id has letters, digits and `-`");
        }
        if !domain.is_none_or(|domain| domain.split('.').all(word)) {
            return Err("a domain before a project's `:` has words with dots between them");
        }
        let dataset = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !self.dataset.chars().all(dataset) {
            return Err("a dataset's name has letters, digits and `_`");
        }
        if self.table.contains('$') {
            return Err(
                "a partition after `$` has no name in SQL: say in a query which rows are wanted",
            );
        }
        let stem = self.table.strip_suffix('*').unwrap_or(&self.table);
        let table = |c: char| c.is_alphanumeric() || "_- ".contains(c) || !c.is_ascii();
        if stem.contains('*') {
            return Err("a `*` may only stand at the table's end");
        }
        if self.table.len() > 1024 || stem.chars().any(char::is_control) {
            return Err("a table's name has up to 1024 bytes on one line");
        }
        if !stem.chars().all(table) {
            return Err("a table's name has letters, digits, `_`, `-` and spaces");
        }
        Ok(())
    }
}

/// A name without back quotes, which may stand around the whole or around parts; `None` where they do not
/// match.
fn unquoted(text: &str) -> Option<String> {
    let pieces: Vec<&str> = text.split('`').collect();
    let last = pieces.len().saturating_sub(1);
    // Every other piece stands outside of quotes, and begins and ends where a part does.
    let fits = pieces.iter().enumerate().step_by(2).all(|(at, piece)| {
        let begins = at == 0 || piece.starts_with(['.', ':']) || at == last && piece.is_empty();
        let ends = at == last || piece.ends_with(['.', ':']) || at == 0 && piece.is_empty();
        begins && ends
    });
    (last.is_multiple_of(2) && fits).then(|| pieces.concat())
}

/// The labels by which jobs of a model and a build are found in lists and bills.
pub(crate) fn labels(model: &str, build: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("serin_model".to_owned(), label(model))]);
    if let Some(build) = build.filter(|build| !build.is_empty()) {
        labels.insert("serin_build".to_owned(), label(build));
    }
    labels
}

/// A text as a label's value: at most 63 lower-case letters, digits, `_` and `-`; what else it holds is `_`.
fn label(text: &str) -> String {
    let legal = |c: char| {
        let letter = c.is_alphabetic() && !c.is_uppercase();
        letter || c.is_ascii_digit() || matches!(c, '_' | '-')
    };
    let lower = text.chars().flat_map(char::to_lowercase);
    lower
        .map(|c| if legal(c) { c } else { '_' })
        .take(63)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> String {
        match text.parse::<TableName>() {
            Ok(name) => format!("{} | {} | {}", name.project, name.dataset, name.table),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_table_is_named_in_many_forms() {
        for text in [
            "my-project.churn.account",
            "bq://my-project.churn.account",
            "`my-project.churn.account`",
            "`my-project`.churn.`account`",
            "`my-project.churn`.account",
            "my-project:churn.account",
            "bq://my-project:churn.account",
        ] {
            assert_eq!(read(text), "my-project | churn | account", "{text}");
        }
        for text in [
            "example.com:p.d.t",
            "example.com:p:d.t",
            "`example.com:p`.d.t",
        ] {
            assert_eq!(read(text), "example.com:p | d | t", "{text}");
        }
        assert_eq!(read("p.d.événements 2-a"), "p | d | événements 2-a");
        let days: TableName = "p.analytics_1.events_*".parse().unwrap();
        assert!(days.is_wildcard());
        assert_eq!(days.sql(), "`p.analytics_1.events_*`");
        let odd = TableName {
            table: r"a`b\".to_owned(),
            ..days
        };
        assert_eq!(odd.sql(), r"`p.analytics_1.a\`b\\`");
    }

    #[test]
    fn what_is_no_table_is_told_why() {
        let told: Vec<String> = [
            "",
            "t",
            "d.t",
            "p.d",
            "p.c.d.t",
            "p..t",
            "p.d.",
            "p.d.t$20260101",
            "p.d.*_x",
            "p.d.a/b",
            "`p.d.t",
            "p`.d.`t",
            "a b.d.t",
            "a.:d.t",
            "example.com:d.t",
            ":p.d.t",
            "gs://b/t",
        ]
        .into_iter()
        .map(read)
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn labels_are_legal() {
        let labels = labels("Churn.Modell Ü", Some(&"A1-".repeat(30)));
        assert_eq!(labels["serin_model"], "churn_modell_ü");
        assert_eq!(labels["serin_build"].len(), 63);
        assert!(!super::labels("m", Some("")).contains_key("serin_build"));
    }

    proptest! {
        #[test]
        fn a_name_round_trips(project in "([a-z]{2,5}\\.com:)?[a-z][a-z0-9-]{0,9}", dataset in "[A-Za-z0-9_]{1,9}", table in "[a-zÜ0-9_ -]{1,9}\\*?") {
            let name = TableName { project, dataset, table };
            prop_assert_eq!(&name.to_string().parse::<TableName>().unwrap(), &name);
            prop_assert_eq!(&name.sql().parse::<TableName>().unwrap(), &name);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(bq://)?[a-z`.:*$]{0,12}|\\PC{0,12}") {
            if let Ok(name) = text.parse::<TableName>() {
                prop_assert_eq!(name.sql().parse::<TableName>().unwrap(), name);
            }
        }
    }
}
