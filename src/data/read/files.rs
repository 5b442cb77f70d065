//! The files of a table: one, those that a pattern matches, or those of a folder.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::File;
use crate::error::Input;

/// How the names of tables end, packed or not; what else lies in a folder is no part of its table.
const TABLES: &[&str] = &[
    "csv", "tsv", "psv", "jsonl", "ndjson", "json", "parquet", "pq",
];

/// How the names of packed files end.
const PACKED: &[&str] = &["gz", "gzip", "zst", "zstd"];

/// The files that a place under a folder means, in the order of their names: a file; a pattern with `*`,
/// `?`, `[…]` and `**` (any folders); or a folder, with those under it, of which the files count that
/// are called as tables are (`.csv`, `.parquet`, `.jsonl.gz`). What is hidden, by a `.` or a `_` in
/// front, is left out of folders, and by a `.` out of patterns.
///
/// # Errors
/// [`Input`] when there is none, or a folder cannot be read.
pub fn find_in(folder: &Path, place: &str) -> Result<Vec<File>> {
    let path = folder.join(place);
    // A file may be called like a pattern.
    let found = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => in_folder(&path)?,
        Ok(metadata) if metadata.is_file() => vec![path.clone()],
        // It would be empty when it is read a second time.
        Ok(_) => {
            let input = Input::new("is a pipe or a device, and a table is read more than once");
            return Err(input
                .at_file(Path::new(place))
                .hint("write it to a file first")
                .into());
        }
        Err(_) if place.contains(['*', '?', '[']) => matching(folder, place)?,
        Err(e) => {
            let message = format!("the table cannot be read: {e}");
            return Err(Input::new(message).at_file(Path::new(place)).into());
        }
    };
    if found.is_empty() {
        let input = match path.is_dir() {
            true => Input::new("holds no table").hint(
                "a table of a folder ends in .csv, .tsv, .jsonl, .json or .parquet, and may be packed as .gz \
                 or .zst; `*` behind the folder takes any file",
            ),
            false => Input::new("matches no file"),
        };
        return Err(input.at_file(Path::new(place)).into());
    }
    let files = found.into_iter().map(|path| {
        let shown = path.strip_prefix(folder).unwrap_or(&path);
        let shown = shown.to_string_lossy().into();
        File { path, shown }
    });
    Ok(files.collect())
}

/// The tables of a folder and of those in it.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let no_folder = |e: std::io::Error| {
            Input::new(format!("the folder cannot be read: {e}")).at_file(&folder)
        };
        for entry in std::fs::read_dir(&folder).map_err(no_folder)? {
            let path = entry.map_err(no_folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(['.', '_']) {
                continue;
            }
            // A link that leads nowhere is neither; a folder that is a link may lead in a circle.
            let Ok(metadata) = std::fs::metadata(&path) else {
                continue;
            };
            if metadata.is_file() && is_table(&name) {
                found.push(path);
            } else if metadata.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is called as tables are.
pub fn is_table(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let (stem, end) = name.rsplit_once('.').unwrap_or((&name, ""));
    let end = match PACKED.contains(&end) {
        true => stem.rsplit_once('.').map_or("", |(_, end)| end),
        false => end,
    };
    TABLES.contains(&end)
}

/// The files that a pattern under a folder matches.
fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let wrong = |message: String| Input::new(message).at_file(Path::new(pattern));
    let escaped = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&escaped).join(pattern);
    let options = glob::MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..Default::default()
    };
    let paths = glob::glob_with(&whole.to_string_lossy(), options)
        .map_err(|e| wrong(format!("is no pattern: {}", e.msg)))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|e| wrong(format!("matching the pattern: {e}")))?;
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &Path, place: &str) -> Vec<String> {
        let files = find_in(folder, place).unwrap();
        for file in &files {
            assert_eq!(file.path, folder.join(&*file.shown));
        }
        files.iter().map(|file| file.shown.to_string()).collect()
    }

    #[test]
    fn a_place_is_a_file_a_pattern_or_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        // The folder's own name is no part of the pattern.
        let folder = folder.path().join("a[1]");
        for name in [
            "data/b.csv",
            "data/a.csv.gz",
            "data/2026/c.CSV",
            "data/2026/d.parquet",
            "data/.hidden.csv",
            "data/_logs/e.csv",
            "data/README.md",
            "data/_SUCCESS",
            "data/part-1",
            "x[1].csv",
        ] {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::create_dir(folder.join("empty")).unwrap();
        assert_eq!(found(&folder, "data/README.md"), ["data/README.md"]);
        assert_eq!(found(&folder, "x[1].csv"), ["x[1].csv"]);
        assert_eq!(
            found(&folder, "data/"),
            [
                "data/2026/c.CSV",
                "data/2026/d.parquet",
                "data/a.csv.gz",
                "data/b.csv"
            ]
        );
        assert_eq!(found(&folder, "data/*.csv"), ["data/b.csv"]);
        assert_eq!(found(&folder, "data/part-?"), ["data/part-1"]);
        assert_eq!(found(&folder, "**/*.parquet"), ["data/2026/d.parquet"]);
        let error = |place| find_in(&folder, place).unwrap_err().to_string();
        assert_eq!(error("data/*.tsv"), "data/*.tsv: matches no file");
        assert_eq!(error("empty"), "empty: holds no table");
        assert!(
            error("data/[").starts_with("data/[: is no pattern"),
            "{}",
            error("data/[")
        );
        assert!(error("none.csv").starts_with("none.csv: the table cannot be read"));
    }
}
