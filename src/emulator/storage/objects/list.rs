//! `objects.list`: in pages of at most a thousand names and prefixes, by the names' bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::{LIVE, OLD, Object};
use crate::emulator::storage::buckets::Bucket;
use crate::emulator::storage::{Storage, folders, no_soft_delete};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};

/// An entry of a page, and where the next page goes on.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    /// A name, and in lists of versions its generation.
    Item(String, Option<u64>),
    Prefix(String),
}

/// What is asked for.
struct Query<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    from: &'a str,
    to: Option<&'a str>,
    glob: Option<&'a str>,
    trailing: bool,
    after: Option<Entry>,
    most: usize,
}

/// A page in the making.
struct Page<'a> {
    query: &'a Query<'a>,
    entries: Vec<Entry>,
    more: bool,
}

impl Page<'_> {
    /// Takes the next name; says whether another is wanted.
    fn take(&mut self, name: &str, generation: Option<u64>) -> bool {
        let query = self.query;
        if query.to.is_some_and(|to| name >= to) {
            return false;
        }
        if name < query.from || query.glob.is_some_and(|glob| !matches(glob, name)) {
            return true;
        }
        let rest = name.get(query.prefix.len()..).unwrap_or_default();
        let cut = query.delimiter.and_then(|d| Some(rest.find(d)? + d.len()));
        let prefix = cut.and_then(|cut| name.get(..query.prefix.len() + cut));
        if let Some(prefix) = prefix {
            let new = Entry::Prefix(prefix.to_owned());
            let seen = self.entries.iter().rev().take(2).any(|entry| *entry == new);
            if !seen && self.is_after(&new) && !self.push(new) {
                return false;
            }
            if !query.trailing || prefix != name {
                return true;
            }
        }
        let item = Entry::Item(name.to_owned(), generation);
        !self.is_after(&item) || self.push(item)
    }

    /// As [`Self::take`] of what is a prefix only.
    fn take_folder(&mut self, name: &str) -> bool {
        let query = self.query;
        let rest = name.get(query.prefix.len()..).unwrap_or_default();
        let Some(at) = rest.find('/') else {
            return true;
        };
        let below = query.to.is_some_and(|to| name >= to) || name < query.from;
        let prefix = name.get(..=query.prefix.len() + at).unwrap_or(name);
        let new = Entry::Prefix(prefix.to_owned());
        let seen = self.entries.iter().rev().take(2).any(|entry| *entry == new);
        below || seen || !self.is_after(&new) || self.push(new)
    }

    fn push(&mut self, entry: Entry) -> bool {
        if self.entries.len() == self.query.most {
            self.more = true;
            return false;
        }
        self.entries.push(entry);
        true
    }

    /// Whether an entry comes after the last one of the page before.
    fn is_after(&self, entry: &Entry) -> bool {
        match (&self.query.after, entry) {
            (None, _) => true,
            (Some(Entry::Item(last, last_generation)), Entry::Item(name, generation)) => {
                (name, generation) > (last, last_generation)
            }
            // A prefix stands before an object of the same name.
            (Some(Entry::Item(last, _)), Entry::Prefix(prefix)) => {
                prefix > last && !last.starts_with(prefix)
            }
            (Some(Entry::Prefix(last)), Entry::Prefix(prefix)) => prefix > last,
            (Some(Entry::Prefix(last)), Entry::Item(name, _)) => name >= last,
        }
    }
}

/// A page of a list.
pub(in crate::emulator::storage) struct Found {
    pub items: Vec<Object>,
    pub prefixes: Vec<String>,
    /// The token of the next page, and the name or prefix that this one ends with.
    pub next: Option<(String, String)>,
}

/// The token of a page that begins after a name, or after everything below a prefix.
pub(in crate::emulator::storage) fn token_after(
    name: &str,
    generation: Option<u64>,
    delimiter: Option<&str>,
) -> String {
    let folder = delimiter.is_some_and(|delimiter| name.ends_with(delimiter));
    let entry = if folder {
        Entry::Prefix(name.to_owned())
    } else {
        Entry::Item(name.to_owned(), generation)
    };
    entry.token()
}

/// The page that a request's query asks for.
///
/// # Errors
/// 404 for the bucket, 400 for a token or size that is none.
pub(in crate::emulator::storage) fn find(
    storage: &Storage,
    request: &Request,
) -> Result<Found, ApiError> {
    let bucket = &request.params[0];
    Bucket::find(storage, bucket)?;
    no_soft_delete(request)?;
    let after = match request.get("pageToken").filter(|token| !token.is_empty()) {
        Some(token) => Some(
            Entry::read(token)
                .ok_or_else(|| ApiError::invalid_argument("Invalid value for: pageToken"))?,
        ),
        None => None,
    };
    let most = request.parse::<usize>("maxResults")?.unwrap_or(1000);
    if most == 0 {
        return Err(ApiError::invalid_argument("Invalid value for: maxResults"));
    }
    let set = |name| request.get(name).filter(|text| !text.is_empty());
    let query = Query {
        prefix: set("prefix").unwrap_or_default(),
        delimiter: set("delimiter"),
        from: set("startOffset").unwrap_or_default(),
        to: set("endOffset"),
        glob: set("matchGlob"),
        trailing: request.flag("includeTrailingDelimiter"),
        after,
        most: most.min(1000),
    };
    if let Some(glob) = query.glob {
        check_glob(glob)?;
        if query.delimiter.is_some_and(|delimiter| delimiter != "/") {
            return Err(ApiError::invalid_argument(
                "Invalid value for: delimiter: beside matchGlob it can only be '/'.",
            ));
        }
    }
    let filter = match set("filter") {
        Some(text) => Some(
            Filter::read(text)
                .ok_or_else(|| ApiError::invalid_argument(format!("Invalid filter: {text}")))?,
        ),
        None => None,
    };
    let versions = request.flag("versions");
    let mut page = Page {
        query: &query,
        entries: Vec::new(),
        more: false,
    };
    let live = format!("{LIVE}{bucket}/");
    if versions {
        for (name, generation) in all_versions(storage, bucket, query.prefix) {
            let kept = filter.as_ref().is_none_or(|filter| {
                let object = super::find(storage, bucket, &name, Some(generation));
                object.is_ok_and(|object| filter.keeps(&object))
            });
            if kept && !page.take(&name, Some(generation)) {
                break;
            }
        }
    } else if let Some(filter) = &filter {
        let objects = storage
            .core
            .store
            .list::<Object>(&format!("{live}{}", query.prefix));
        for (_, object) in objects {
            if filter.keeps(&object) && !page.take(&object.name, None) {
                break;
            }
        }
    } else {
        // Managed folders stand among the prefixes where that is asked for.
        let wanted = request.flag("includeFoldersAsPrefixes") && query.delimiter == Some("/");
        let folders = if wanted {
            folders::names(storage, bucket, query.prefix)
        } else {
            Vec::new()
        };
        let mut folders = folders.iter().peekable();
        let last = match &query.after {
            Some(Entry::Item(name, _) | Entry::Prefix(name)) => name.as_str(),
            None => "",
        };
        let from = format!("{live}{}", query.from.max(last));
        storage
            .core
            .store
            .keys(&format!("{live}{}", query.prefix), &from, |key| {
                let name = &key[live.len()..];
                while let Some(folder) = folders.next_if(|folder| folder.as_str() < name) {
                    if !page.take_folder(folder) {
                        return false;
                    }
                }
                page.take(name, None)
            });
        while !page.more
            && folders
                .next()
                .is_some_and(|folder| page.take_folder(folder))
        {}
    }
    let last = page.entries.last().filter(|_| page.more);
    let mut found = Found {
        items: Vec::new(),
        prefixes: Vec::new(),
        next: last.map(|last| match last {
            Entry::Item(name, _) | Entry::Prefix(name) => (last.token(), name.clone()),
        }),
    };
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => found.prefixes.push(prefix),
            // One deleted since the names were read is left out.
            Entry::Item(name, generation) => {
                let object = super::find(storage, bucket, &name, generation);
                found.items.extend(object.ok());
            }
        }
    }
    Ok(found)
}

pub(super) async fn list(storage: Arc<Storage>, request: Request) -> Answer {
    let found = find(&storage, &request)?;
    let mut answer = json!({"kind": "storage#objects"});
    if let Some((token, _)) = found.next {
        answer["nextPageToken"] = token.into();
    }
    if !found.items.is_empty() {
        answer["items"] = found
            .items
            .iter()
            .map(|object| object.told(&storage, &request))
            .collect();
    }
    if !found.prefixes.is_empty() {
        answer["prefixes"] = found.prefixes.into();
    }
    Ok(json(answer))
}

/// Every generation below a prefix, by name and age.
fn all_versions(storage: &Storage, bucket: &str, prefix: &str) -> Vec<(String, u64)> {
    let mut found: BTreeMap<(String, u64), ()> = BTreeMap::new();
    for kind in [LIVE, OLD] {
        let objects = storage
            .core
            .store
            .list::<Object>(&format!("{kind}{bucket}/{prefix}"));
        for (_, object) in objects {
            if object.name.starts_with(prefix) {
                found.insert((object.name, object.generation), ());
            }
        }
    }
    found.into_keys().collect()
}

impl Entry {
    fn token(&self) -> String {
        let text = match self {
            Self::Prefix(prefix) => format!("p{prefix}"),
            Self::Item(name, None) => format!("i{name}"),
            Self::Item(name, Some(generation)) => format!("v{generation:020}{name}"),
        };
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    fn read(token: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        if let Some(prefix) = text.strip_prefix('p') {
            return Some(Self::Prefix(prefix.to_owned()));
        }
        if let Some(name) = text.strip_prefix('i') {
            return Some(Self::Item(name.to_owned(), None));
        }
        let (generation, name) = text.strip_prefix('v')?.split_at_checked(20)?;
        Some(Self::Item(name.to_owned(), generation.parse().ok()))
    }
}

/// `filter`: whether an object has a context, with a value or with any, or has it not.
struct Filter {
    key: String,
    value: Option<String>,
    negated: bool,
}

impl Filter {
    /// Reads `contexts."KEY"="VALUE"` and `contexts."KEY":*`, each also after `-` or `NOT`.
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.strip_prefix('-').or_else(|| text.strip_prefix("NOT "));
        let rest = bare.unwrap_or(text).trim();
        let (key, rest) = rest.strip_prefix("contexts.\"")?.split_once('"')?;
        let value = match rest.trim() {
            ":*" => None,
            rest => {
                let value = rest.strip_prefix('=')?.trim();
                let value = value.strip_prefix('"')?.strip_suffix('"')?;
                Some(value.to_owned())
            }
        };
        Some(Self {
            key: key.to_owned(),
            value,
            negated: bare.is_some(),
        })
    }

    fn keeps(&self, object: &Object) -> bool {
        let contexts = object.attributes.contexts.as_ref();
        let found = contexts.and_then(|contexts| contexts["custom"][&self.key]["value"].as_str());
        let holds = match (&self.value, found) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(value), Some(found)) => value == found,
        };
        holds != self.negated
    }
}

/// Refuses globs that are none.
///
/// # Errors
/// 400 for brackets and braces that are not closed, are empty or stand in one another.
fn check_glob(glob: &str) -> Result<(), ApiError> {
    let invalid = || ApiError::invalid_argument(format!("Invalid glob pattern: {glob}"));
    let mut rest = glob.chars();
    let mut in_braces = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                rest.next().ok_or_else(invalid)?;
            }
            '[' => {
                let set: String = rest.by_ref().take_while(|c| *c != ']').collect();
                let closed = glob.len() - rest.as_str().len() > 0
                    && glob[..glob.len() - rest.as_str().len()].ends_with(']');
                if !closed || set.trim_start_matches(['!', '^']).is_empty() {
                    return Err(invalid());
                }
            }
            '{' if in_braces => return Err(invalid()),
            '{' => in_braces = true,
            '}' => in_braces = false,
            _ => {}
        }
    }
    if in_braces { Err(invalid()) } else { Ok(()) }
}

/// `matchGlob`: `*` and `?` without `/`, `**` with it, `[abc]`, `[!a-c]`, `{a,b}`, `\` before a
/// character that stands for itself.
fn matches(glob: &str, name: &str) -> bool {
    let glob: Vec<char> = glob.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let mut steps = 100_000;
    matches_from(&glob, &name, &mut steps)
}

/// `steps` bounds the work that a hostile pattern can cause; beyond it nothing matches.
fn matches_from(glob: &[char], name: &[char], steps: &mut u32) -> bool {
    *steps = steps.saturating_sub(1);
    if *steps == 0 {
        return false;
    }
    let Some((first, rest)) = glob.split_first() else {
        return name.is_empty();
    };
    match first {
        '*' => {
            let deep = rest.first() == Some(&'*');
            let rest = if deep { &rest[1..] } else { rest };
            // `**/` also stands for no folder at all.
            if deep && rest.first() == Some(&'/') && matches_from(&rest[1..], name, steps) {
                return true;
            }
            (0..=name.len())
                .take_while(|&n| n == 0 || deep || name[n - 1] != '/')
                .any(|n| matches_from(rest, &name[n..], steps))
        }
        '{' => {
            let Some(end) = rest.iter().position(|c| *c == '}') else {
                return false;
            };
            rest[..end].split(|c| *c == ',').any(|choice| {
                let whole = [choice, &rest[end + 1..]].concat();
                matches_from(&whole, name, steps)
            })
        }
        '[' => {
            let (Some(end), Some((c, after))) = (
                rest.iter().skip(1).position(|c| *c == ']').map(|i| i + 1),
                name.split_first(),
            ) else {
                return false;
            };
            let (negated, set) = match &rest[..end] {
                ['!' | '^', set @ ..] => (true, set),
                set => (false, set),
            };
            *c != '/' && in_set(set, *c) != negated && matches_from(&rest[end + 1..], after, steps)
        }
        _ => {
            let Some((c, after)) = name.split_first() else {
                return false;
            };
            match (first, rest) {
                ('?', rest) => *c != '/' && matches_from(rest, after, steps),
                ('\\', [literal, rest @ ..]) => c == literal && matches_from(rest, after, steps),
                (literal, rest) => c == literal && matches_from(rest, after, steps),
            }
        }
    }
}

fn in_set(mut set: &[char], c: char) -> bool {
    loop {
        match set {
            [low, '-', high, rest @ ..] => {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                set = rest;
            }
            [one, rest @ ..] => {
                if *one == c {
                    return true;
                }
                set = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pages(names: &[String], delimiter: Option<&str>, trailing: bool, most: usize) -> Vec<Entry> {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = Query {
                prefix: "",
                delimiter,
                from: "",
                to: None,
                glob: None,
                trailing,
                after,
                most,
            };
            let mut page = Page {
                query: &query,
                entries: Vec::new(),
                more: false,
            };
            for name in &names {
                if !page.take(name, None) {
                    break;
                }
            }
            let (more, entries) = (page.more, page.entries);
            assert!(entries.len() <= most);
            after = entries.last().and_then(|last| Entry::read(&last.token()));
            all.extend(entries);
            if !more {
                return all;
            }
        }
    }

    proptest! {
        #[test]
        fn pages_of_any_size_give_the_same(
            names in prop::collection::vec("[ab/]{1,6}", 0..30),
            most in 1_usize..5,
            delimited: bool,
            trailing: bool,
        ) {
            let delimiter = delimited.then_some("/");
            let whole = pages(&names, delimiter, trailing, 1000);
            prop_assert_eq!(pages(&names, delimiter, trailing, most), whole.clone());
            let mut once = whole.clone();
            once.dedup();
            prop_assert_eq!(once.len(), whole.len());
        }

        #[test]
        fn no_glob_makes_it_panic(glob in "[a*?\\[\\]{},!\\\\/-]{0,20}", name in "[a/\\]-]{0,20}") {
            let _matched = matches(&glob, &name);
        }
    }

    #[test]
    fn globs_match_as_documented() {
        for (glob, name, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("**/*.txt", "d/e/a.txt", true),
            ("**/*.txt", "a.txt", true),
            ("d/**", "d/e/a", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[ab]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("x.{csv,json}", "x.json", true),
            ("x.{csv,json}", "x.txt", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} {name}");
        }
    }
}
