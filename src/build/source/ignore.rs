//! What of a source folder is not submitted: the patterns of `.gcloudignore`, which are git's.

use std::fs;
use std::io;
use std::path::Path;

use crate::build::glob::Glob;
use crate::error::{Input, Place};

/// Patterns in the order of their files; the last one that fits a path decides.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    negated: bool,
    /// Ends with a slash: only folders.
    folders: bool,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Glob(Glob),
    /// `**`: any number of folders, at the end at least one part.
    Any,
}

impl Rules {
    /// The rules of a source folder: its `.gcloudignore`, else what git would leave out by the
    /// `.gitignore` at its top, with git's own files, else none.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Self> {
        let mut rules = Self::default();
        if let Some(text) = text_of(&folder.join(".gcloudignore"))? {
            rules.add(folder, ".gcloudignore", &text)?;
            return Ok(rules);
        }
        let gitignore = text_of(&folder.join(".gitignore"))?;
        if gitignore.is_some() || folder.join(".git").exists() {
            rules.add_lines(".gcloudignore\n.git\n.gitignore");
            rules.add_lines(&gitignore.unwrap_or_default());
        }
        Ok(rules)
    }

    /// Adds the lines of a `.gcloudignore`, and of the files that it includes.
    fn add(&mut self, folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
        for (index, line) in text.lines().enumerate() {
            let Some(included) = line.strip_prefix("#!include:") else {
                self.add_lines(line);
                continue;
            };
            let place = Place::Text {
                path: folder.join(name),
                line: index + 1,
                column: 1,
            };
            let included = included.trim();
            if included.is_empty() || included.contains('/') {
                let message = format!("`{included}` is no file of the same folder");
                return Err(Input::new(message).at(place).into());
            }
            let text = text_of(&folder.join(included))?.ok_or_else(|| {
                Input::new(format!("includes `{included}`, which is not there")).at(place.clone())
            })?;
            if text.lines().any(|line| line.starts_with("#!include:")) {
                let message = format!("includes `{included}`, which includes a file itself");
                return Err(Input::new(message).at(place).into());
            }
            self.add_lines(&text);
        }
        Ok(())
    }

    fn add_lines(&mut self, text: &str) {
        self.0.extend(text.lines().filter_map(Rule::parse));
    }

    /// Whether a path, relative to the folder with `/` between its parts, is left out. Of what stands
    /// in a folder that is left out nothing comes back, so it need not be asked about.
    pub(super) fn leaves_out(&self, path: &str, is_folder: bool) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        self.0
            .iter()
            .rev()
            .find(|rule| (is_folder || !rule.folders) && covers(&rule.segments, &parts))
            .is_some_and(|rule| !rule.negated)
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let line = trim_end(line);
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (negated, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, line),
        };
        let (folders, pattern) = match pattern.strip_suffix('/') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        let (anchored, pattern) = match pattern.strip_prefix('/') {
            Some(pattern) => (true, pattern),
            None => (pattern.contains('/'), pattern),
        };
        if pattern.is_empty() {
            return None;
        }
        let mut segments = Vec::new();
        if !anchored {
            segments.push(Segment::Any);
        }
        segments.extend(pattern.split('/').map(|segment| match segment {
            "**" => Segment::Any,
            segment => Segment::Glob(Glob::new(segment)),
        }));
        Some(Self {
            negated,
            folders,
            segments,
        })
    }
}

/// Blanks at the end of a line go, unless a backslash holds them.
fn trim_end(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    let trimmed = line.trim_end_matches(' ');
    let backslashes = trimmed.len() - trimmed.trim_end_matches('\\').len();
    if backslashes % 2 == 1 && trimmed.len() < line.len() {
        &line[..=trimmed.len()]
    } else {
        trimmed
    }
}

/// Whether segments of a pattern cover the parts of a path, all of both.
fn covers(segments: &[Segment], parts: &[&str]) -> bool {
    // For every number of parts: whether the segments so far cover exactly that many.
    let mut covered = vec![false; parts.len() + 1];
    covered[0] = true;
    for (i, segment) in segments.iter().enumerate() {
        let last = i + 1 == segments.len();
        let mut next = vec![false; covered.len()];
        match segment {
            Segment::Any => {
                let first = covered.iter().position(|c| *c).unwrap_or(covered.len());
                // At the end it stands for what is inside a folder, not for the folder.
                let from = if last { first + 1 } else { first };
                next.iter_mut().skip(from).for_each(|c| *c = true);
            }
            Segment::Glob(glob) => {
                for (count, part) in parts.iter().enumerate() {
                    next[count + 1] = covered[count] && glob.matches(part);
                }
            }
        }
        covered = next;
    }
    covered[parts.len()]
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
    use std::process::{Command, Stdio};

    fn rules(text: &str) -> Rules {
        let mut rules = Rules::default();
        rules.add_lines(text);
        rules
    }

    #[test]
    fn patterns_are_gits() {
        for (pattern, out, kept) in [
            ("*.log", "a.log d/e/b.log", "a.log.x"),
            ("/a", "a", "d/a"),
            ("d/a", "d/a", "e/d/a"),
            ("a/", "a/ d/a/", "a d/a"),
            ("**/a", "a d/e/a", "ab"),
            ("a/**", "a/b a/b/c", "a/ b"),
            ("a/**/b", "a/b a/c/d/b", "a/c b"),
            ("a*/b", "ax/b", "a/x/b"),
            ("\\#a", "#a", "a"),
            ("\\!a", "!a", "a"),
            ("# a", "", "a #"),
            ("a\\ ", "a\u{20}", "a"),
            ("*\n!keep", "a", "keep d/keep"),
            ("*\n!*/\n!*.csv", "a.txt", "d/ a.csv d/a.csv"),
        ] {
            let rules = rules(pattern);
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

    /// Held against git itself, where it is there.
    #[test]
    fn git_agrees() {
        let paths = [
            "a",
            "b",
            "a.log",
            "d/a",
            "d/b",
            "d/a.log",
            "d/e/a",
            "d/e/b.txt",
            "e/d/a",
            "ab",
            "a b",
        ];
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(folder.path()).args(args);
            command.stderr(Stdio::null()).output()
        };
        if git(&["init", "--quiet"]).is_err() {
            return;
        }
        for pattern in [
            "a",
            "/a",
            "*.log",
            "d/",
            "d/a",
            "d/*",
            "d/**",
            "**/a",
            "d/**/a",
            "**/e/*",
            "?",
            "[ab]",
            "*\n!a",
            "d/*\n!d/a",
            "*\n!*/\n!a",
            "d/e",
            "/*/a",
            "**",
            "***",
            "a*b",
            "[!a]",
            "e/**/a",
        ] {
            fs::write(folder.path().join(".git/info/exclude"), pattern).unwrap();
            let args = [&["check-ignore", "--no-index"][..], &paths[..]].concat();
            let output = String::from_utf8(git(&args).unwrap().stdout).unwrap();
            let theirs: Vec<&str> = output.lines().collect();
            let rules = rules(pattern);
            let ignored = |path: &&str| {
                let ends = path.match_indices('/').map(|(at, _)| at);
                let folders = ends.map(|at| rules.leaves_out(&path[..at], true));
                folders.into_iter().any(|out| out) || rules.leaves_out(path, false)
            };
            let own: Vec<&str> = paths.into_iter().filter(ignored).collect();
            assert_eq!(own, theirs, "{pattern:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[a*?/!\\\\ \\[\\]#-]{0,12}", path in "[a-b/]{0,8}") {
            let _left_out = rules(&line).leaves_out(&path, false);
        }
    }
}
