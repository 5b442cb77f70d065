//! What of a source folder is not submitted: the patterns of `.gcloudignore`, as gcloud reads them.
//!
//! They look like git's and differ in places: a pattern with a slash inside matches at any depth,
//! `folder/**` is the folder too, a leading `*` stops at short paths only, a backslash takes a sign's
//! meaning away in front of `#` and `!` alone, and classes are Python's `fnmatch`: `!` negates, `^` does not.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Input, Place};
use crate::pattern::Glob;

/// Patterns in the order of their files; the last one that fits a path decides.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    negated: bool,
    /// Ended with a slash: only folders.
    folders: bool,
    /// Began with a slash: the first part is at the top.
    anchored: bool,
    parts: Vec<Part>,
}

/// What stands between slashes.
#[derive(Debug)]
enum Part {
    Glob(Glob),
    /// `*` alone.
    Star,
    /// `**`: any number of folders.
    Any,
}

impl Rules {
    /// The rules of a source folder: its `.gcloudignore`, else what git would leave out by the
    /// `.gitignore` at its top, with git's own files, else none.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Self> {
        let mut rules = Self::default();
        if let Some(text) = text_of(&folder.join(".gcloudignore"))? {
            rules.add(folder, ".gcloudignore", &text, true)?;
            return Ok(rules);
        }
        let gitignore = text_of(&folder.join(".gitignore"))?;
        if gitignore.is_some() || folder.join(".git").exists() {
            rules.add(
                folder,
                ".gcloudignore",
                ".gcloudignore\n.git\n.gitignore",
                false,
            )?;
            rules.add(folder, ".gitignore", &gitignore.unwrap_or_default(), false)?;
        }
        Ok(rules)
    }

    /// Adds the lines of a file, and of the files that it includes; those include no further ones.
    fn add(&mut self, folder: &Path, name: &str, text: &str, includes: bool) -> anyhow::Result<()> {
        for (index, line) in lines(text).enumerate() {
            let Some(comment) = line.strip_prefix('#') else {
                self.0.extend(Rule::parse(line));
                continue;
            };
            let Some(included) = comment.trim_start().strip_prefix("!include:") else {
                continue;
            };
            let place = Place::Text {
                path: folder.join(name),
                line: index + 1,
                column: 1,
            };
            if included.is_empty() || included.contains('/') {
                let message = format!("`{included}` is no file of the same folder");
                return Err(Input::new(message).at(place).into());
            }
            if !includes {
                continue;
            }
            let text = text_of(&folder.join(included))?.ok_or_else(|| {
                Input::new(format!("includes `{included}`, which is not there")).at(place)
            })?;
            self.add(folder, included, &text, false)?;
        }
        Ok(())
    }

    /// Whether a path, relative to the folder with `/` between its parts, is left out. Of what stands
    /// in a folder that is left out nothing comes back, so it need not be asked about.
    pub(super) fn leaves_out(&self, path: &str, is_folder: bool) -> bool {
        let path: Vec<&str> = path.split('/').collect();
        self.0
            .iter()
            .rev()
            .find(|rule| (is_folder || !rule.folders) && rule.fits(&path))
            .is_some_and(|rule| !rule.negated)
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let (negated, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, line),
        };
        // A blank behind the slash makes it an empty last part, which fits nothing.
        let (folders, pattern) = match pattern.strip_suffix('/') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        let pattern = unescaped(&trim_end(pattern).replace("\\ ", " "))?;
        if pattern.is_empty() {
            return None;
        }
        let (anchored, pattern) = match pattern.strip_prefix('/') {
            Some(pattern) => (true, pattern),
            None => (false, pattern.as_str()),
        };
        let parts = pattern.split('/').map(|part| match part {
            "*" => Part::Star,
            "**" => Part::Any,
            part => Part::Glob(fnmatch(part)),
        });
        Some(Self {
            negated,
            folders,
            anchored,
            parts: parts.collect(),
        })
    }

    fn fits(&self, path: &[&str]) -> bool {
        fits(&self.parts, self.anchored, Some(path))
    }
}

/// The lines of a text, by all the characters that Python ends one with.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    text.lines().flat_map(move |line| line.split(ends))
}

/// Blanks at the end go, but for one that a backslash holds.
fn trim_end(line: &str) -> &str {
    let trimmed = line.trim_end_matches(' ');
    let backslashes = trimmed.len() - trimmed.trim_end_matches('\\').len();
    if backslashes % 2 == 1 && trimmed.len() < line.len() {
        &line[..=trimmed.len()]
    } else {
        trimmed
    }
}

/// Without the backslashes, each of which stands for the character behind it; `None` where there is none.
fn unescaped(pattern: &str) -> Option<String> {
    let mut chars = pattern.chars();
    let mut text = String::with_capacity(pattern.len());
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(text)
}

/// A pattern of Python's `fnmatch`, which knows no backslash and no class names, and negates by `!` alone.
fn fnmatch(pattern: &str) -> Glob {
    let chars: Vec<char> = pattern.chars().collect();
    let mut shell = String::with_capacity(pattern.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '[' => {
                let negated = chars.get(at) == Some(&'!');
                let first = at + usize::from(negated);
                // A `]` at the very beginning belongs to the class.
                let rest = chars.get(first + 1..).unwrap_or_default();
                let Some(length) = rest.iter().position(|c| *c == ']') else {
                    shell.push_str("\\[");
                    continue;
                };
                let end = first + 1 + length;
                shell.push_str(if negated { "[!" } else { "[" });
                for c in &chars[first..end] {
                    if *c != '-' {
                        shell.push('\\');
                    }
                    shell.push(*c);
                }
                shell.push(']');
                at = end + 1;
            }
            '\\' => shell.push_str("\\\\"),
            c => shell.push(c),
        }
    }
    Glob::new(&shell)
}

/// Whether the parts of a pattern fit a path, compared from its end: an anchored pattern has to reach the
/// top, another one may end below it. `None` is what stands left of the top.
fn fits(parts: &[Part], anchored: bool, path: Option<&[&str]>) -> bool {
    let Some((part, before)) = parts.split_last() else {
        return !anchored || path.is_some_and(<[_]>::is_empty);
    };
    let Some(path) = path else { return false };
    let (name, folders) = match path.split_last() {
        Some((name, folders)) => (*name, Some(folders)),
        // The top itself, which has no name.
        None => ("", None),
    };
    match part {
        Part::Any => (0..=path.len()).any(|n| fits(before, true, Some(&path[..n]))),
        Part::Star if before.is_empty() && !anchored && folders.is_some_and(is_long) => false,
        Part::Star => fits(before, anchored, folders),
        Part::Glob(glob) => glob.matches(name) && fits(before, anchored, folders),
    }
}

/// Whether a folder's path has more than one character.
fn is_long(folders: &[&str]) -> bool {
    folders.len() > 1 || folders.iter().any(|name| name.chars().count() > 1)
}

fn text_of(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Input::new(format!("cannot be read: {e}"))
            .at_file(path)
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `gcloud meta list-files-for-upload` of gcloud 528 left out and kept; a folder ends with `/`.
    #[test]
    fn patterns_are_gclouds() {
        for (pattern, out, kept) in [
            ("*.log", "a.log d/e/b.log", "a.log.x"),
            ("/a", "a", "d/a"),
            ("d/a", "d/a e/d/a", "a"),
            ("a/", "a/ d/a/", "a d/a"),
            ("a/ ", "", "a a/ d/a/"),
            ("**/a", "a d/e/a", "ab"),
            ("a/**", "a/b a/b/c a", "d/a/b"),
            ("a/**/b", "a/b a/c/d/b", "a/c d/a/b"),
            ("**", "a d/a", ""),
            ("a*/b", "ax/b d/ax/b", "a/x/b"),
            ("*", "a d/a", "dd/a d/e/a"),
            ("/*", "a dd/", "d/a"),
            ("*/a", "a d/a d/e/a", "dd/e/a"),
            ("?/a", "d/a d/e/a", "a"),
            ("***", "a d/a d/e/a", ""),
            ("\\#a", "#a", "a"),
            ("\\!a", "!a", "a"),
            ("\\*.a", "*.a b.a", ".b"),
            ("# a", "", "a #"),
            ("a\\ ", "a\u{20}", "a"),
            ("a\\", "", "a a\\"),
            ("[^a]", "^ a", "b"),
            ("[!a]", "b", "a"),
            ("[b-c]", "b c", "a -"),
            ("[]a]", "] a", "b"),
            ("[a", "[a", "a"),
            ("[[:alpha:]]", "a] :]", "a z]"),
            ("*\n!keep", "a", "keep d/keep"),
            ("*\n!*/\n!*.csv", "a.txt", "d/ a.csv d/a.csv"),
            ("a//b", "", "a/b"),
            ("/", "", "a a/"),
            ("a\x0cb", "a b", "ab"),
        ] {
            let mut rules = Rules::default();
            let folder = Path::new("no/such");
            rules.add(folder, ".gcloudignore", pattern, true).unwrap();
            let ask = |path: &str| match path.strip_suffix('/') {
                Some(folder) => rules.leaves_out(folder, true),
                None => rules.leaves_out(path, false),
            };
            let words = |list: &'static str| match list {
                "a\u{20}" => vec![list],
                list => list.split(' ').filter(|w| !w.is_empty()).collect(),
            };
            for path in words(out) {
                assert!(ask(path), "{pattern:?} {path:?}");
            }
            for path in words(kept) {
                assert!(!ask(path), "{pattern:?} {path:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[a*?/!\\\\ \\[\\]#-]{0,12}", path in "[a-b/]{0,8}") {
            let mut rules = Rules::default();
            rules.0.extend(Rule::parse(&line));
            let _left_out = rules.leaves_out(&path, false);
        }
    }
}
