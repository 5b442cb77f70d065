//! Sources, tables and settings that were made to do harm: links out, bombs, and texts without end.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::cloudbuild::{create, wait_for};
use crate::emulate::emulate_with;
use crate::harness::Project;

/// What no build may see.
const PRECIOUS: &str = "the machine's own";

/// A project in a folder with a file beside it.
fn project(config: &str) -> Project {
    let project = Project::empty();
    project.write("cloudbuild.yaml", config);
    fs::write(project.folder.path().join("precious"), PRECIOUS).unwrap();
    project
}

/// A gzipped archive: a kind, a name, and a file's content or a link's target.
fn archive(path: &Path, entries: &[(EntryType, &str, &str)]) {
    let packed = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    let mut builder = Builder::new(packed);
    for (kind, name, text) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_size(0);
        if *kind == EntryType::Regular {
            header.set_size(text.len() as u64);
            builder
                .append_data(&mut header, name, text.as_bytes())
                .unwrap();
        } else {
            builder.append_link(&mut header, name, text).unwrap();
        }
    }
    builder.into_inner().unwrap().finish().unwrap();
}

/// How a build of a source that may read everything ends.
fn built(url: &str, source: &Value) -> Value {
    let build = json!({
        "source": source,
        "steps": [{"name": "serin", "script": "cat x; cat d/*; true"}],
    });
    let id = create(url, &build);
    wait_for(url, &id, &["SUCCESS", "FAILURE", "INTERNAL_ERROR"])
}

/// That a build was refused for its source, by name.
fn assert_refused(build: &Value, parts: &[&str]) {
    assert_eq!(build["status"], "FAILURE", "{build}");
    assert_eq!(
        build["failureInfo"]["type"], "FETCH_SOURCE_FAILED",
        "{build}"
    );
    let detail = build["failureInfo"]["detail"].as_str().unwrap();
    for part in parts {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(build["steps"][0]["status"].is_null(), "{build}");
}

#[test]
fn an_archives_links_lead_out_of_it_by_no_chain() {
    use EntryType::{Link, Regular, Symlink};
    let project = project("");
    let bucket = project.folder.path().join("seed/bucket");
    fs::create_dir_all(&bucket).unwrap();
    // `deep/up` is the top of the source; by its name it is fifteen levels down, and so much `..` seems to fit.
    let deep = vec!["d"; 15].join("/");
    let up = format!("{deep}/up");
    let top = vec![".."; 15].join("/");
    let out = format!("{up}/{}/../../../../precious", [".."; 8].join("/"));
    archive(
        &bucket.join("chain.tgz"),
        &[(Symlink, &up, &top), (Symlink, "x", &out)],
    );
    // Each link goes up from where the one before it ends.
    let steps: Vec<(String, String)> = (1..=14)
        .map(|n| (format!("{deep}/l{n}"), format!("l{}/..", n - 1)))
        .collect();
    let first = format!("{deep}/l0");
    let mut chain = vec![(Symlink, &*first, "up/..")];
    chain.insert(0, (Symlink, &up, &top));
    chain.extend(steps.iter().map(|(path, to)| (Symlink, &**path, &**to)));
    archive(&bucket.join("steps.tgz"), &chain);
    archive(
        &bucket.join("hard.tgz"),
        &[(Symlink, &up, &top), (Link, "x", &out)],
    );
    archive(
        &bucket.join("inside.tgz"),
        &[
            (Regular, "a/b/file", "from inside"),
            (Symlink, "c/over", "../a"),
            (Symlink, "d", "c/over/b"),
            (Symlink, "x", "d/file"),
            (Link, "y", "a/b/file"),
        ],
    );
    let (_emulator, url) =
        emulate_with(&project, "cloud", &["--builds=host", "--seed-from", "seed"]);
    let of = |object: &str| {
        built(
            &url,
            &json!({"storageSource": {"bucket": "bucket", "object": object}}),
        )
    };
    let refused = ["`x` is a symbolic link to", "precious`, which leads out"];
    assert_refused(&of("chain.tgz"), &refused);
    assert_refused(&of("steps.tgz"), &["/l0` is a symbolic link to `up/..`"]);
    assert_refused(
        &of("hard.tgz"),
        &["entry `x` is a link that leads out", "precious"],
    );
    let built = of("inside.tgz");
    assert_eq!(built["status"], "SUCCESS", "{built}");
}

#[test]
fn a_repositorys_links_lead_out_of_it_by_no_chain() {
    let project = project("");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(project.source());
        command.args(["-c", "user.name=a", "-c", "user.email=a@b.c"]);
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    fs::create_dir(project.source().join("d")).unwrap();
    project.write("d/file", "from inside");
    symlink("d/file", project.source().join("x")).unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "inside"]);
    git(&["checkout", "--quiet", "-b", "plain"]);
    symlink("/etc/hostname", project.source().join("d/link")).unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "plain"]);
    git(&["checkout", "--quiet", "-b", "folder", "main"]);
    symlink("..", project.source().join("d/up")).unwrap();
    symlink("d/up/..", project.source().join("y")).unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "folder"]);

    let repository = format!("repo={}", project.source().display());
    let (_emulator, url) = emulate_with(
        &project,
        "cloud",
        &["--builds=host", "--repository", &repository],
    );
    let of = |branch: &str| {
        built(
            &url,
            &json!({"repoSource": {"repoName": "repo", "branchName": branch}}),
        )
    };
    let built = of("main");
    assert_eq!(built["status"], "SUCCESS", "{built}");
    let said = "`d/link` is a symbolic link to `/etc/hostname`, which leads out";
    assert_refused(&of("plain"), &[said]);
    assert_refused(&of("folder"), &["`y` is a symbolic link to `d/up/..`"]);
}

#[test]
fn a_local_source_is_left_by_links_only_when_told() {
    let project = project("steps: [{name: serin, script: 'cat x'}]\n");
    let step = ["run", "project", "--workspace", "workspace"];
    symlink("../precious", project.source().join("x")).unwrap();
    let refused = project.serin(&step).expect(2);
    for part in [
        "project/x: is a symbolic link to `../precious`, which leads out of the source",
        "--follow-links",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert!(!refused.stdout.contains(PRECIOUS));
    let followed = [&step[..], &["--follow-links"]].concat();
    project.serin(&followed).expect(0).says(PRECIOUS);

    fs::remove_file(project.source().join("x")).unwrap();
    project.write("file", "from inside");
    symlink("y", project.source().join("x")).unwrap();
    symlink(project.source().join("file"), project.source().join("y")).unwrap();
    project.serin(&step).expect(0).says("from inside");
}

#[test]
fn no_artifact_is_taken_from_outside_of_the_workspace() {
    let project = project(
        "steps: [{name: serin, script: 'ln -s /etc/hostname out.txt'}]\n\
         artifacts: {objects: {location: 'gs://bucket/', paths: ['*.txt']}}\n",
    );
    fs::create_dir_all(project.folder.path().join("seed/bucket")).unwrap();
    let arguments = ["run", "project", "--seed-from", "seed"];
    let said = "`out.txt` leads out of the workspace by a symbolic link, to `/etc/hostname`";
    let refused = project.serin(&arguments).expect(1);
    let all = format!("{}{}", refused.stdout, refused.stderr);
    assert!(all.contains(said), "{all}");
}

#[test]
fn an_archive_of_zeros_is_refused_before_it_fills_the_disk() {
    let project = project("");
    let bucket = project.folder.path().join("seed/bucket");
    fs::create_dir_all(&bucket).unwrap();
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size(4 << 30);
    header.set_cksum();
    let mut packed = GzEncoder::new(
        File::create(bucket.join("zeros.tgz")).unwrap(),
        Compression::fast(),
    );
    std::io::Write::write_all(&mut packed, header.as_bytes()).unwrap();
    std::io::Write::write_all(&mut packed, &[0; 1 << 20]).unwrap();
    packed.finish().unwrap();
    let (_emulator, url) =
        emulate_with(&project, "cloud", &["--builds=host", "--seed-from", "seed"]);
    let source = json!({"storageSource": {"bucket": "bucket", "object": "zeros.tgz"}});
    let said = ["entry `zeros` of 4294967296 bytes", "may have 268435456"];
    assert_refused(&built(&url, &source), &said);
}

#[test]
fn a_packed_line_without_end_is_refused_where_it_is_too_long() {
    let project = Project::empty();
    let text = [b"a,b\n1,".to_vec(), vec![b'2'; 256 << 20]].concat();
    fs::write(
        project.folder.path().join("t.csv.zst"),
        zstd::encode_all(&*text, 1).unwrap(),
    )
    .unwrap();
    let refused = project.serin(&["profile", "t.csv.zst"]).expect(2);
    let said = "the record of line 2 is longer than 16 MiB";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
}

#[test]
fn settings_of_many_thousands_of_keys_are_read() {
    // Where each name is looked for among all others, these take minutes.
    let project = Project::empty();
    let keys: String = (0..80_000).map(|n| format!("key_{n}: {n}\n")).collect();
    project.write("cloudbuild.yaml", &keys);
    project.write("serin.yaml", &keys);
    let check = project.serin(&["run", "--check", "project"]).expect(2);
    assert!(
        check.stderr.contains("unknown field `key_0`"),
        "{}",
        check.stderr
    );
    let lint = ["lint", "--config", "project/serin.yaml"];
    let lint = project.serin(&lint).expect(2);
    assert!(
        lint.stderr.contains("unknown field `key_0`"),
        "{}",
        lint.stderr
    );

    let twice: String = (0..80_000).map(|n| format!("steps: {n}\n")).collect();
    project.write("cloudbuild.yaml", &format!("steps: [{{name: a}}]\n{twice}"));
    let check = project.serin(&["run", "--check", "project"]).expect(0);
    assert!(check.stderr.lines().count() < 50);
    assert!(check.stderr.contains("and 79980 more"), "{}", check.stderr);

    let flow: Vec<String> = (0..80_000).map(|n| format!("key_{n}: {n}")).collect();
    project.write("serin.yaml", &format!("{{{}}}", flow.join(", ")));
    let lint = ["lint", "--config", "project/serin.yaml"];
    let lint = project.serin(&lint).expect(2);
    assert!(lint.stderr.len() < 2000, "{}", lint.stderr.len());
}

#[test]
fn a_table_of_many_columns_is_checked_against_its_schema() {
    const COLUMNS: usize = 20_000;
    let project = Project::empty();
    let names: Vec<String> = (0..COLUMNS).map(|n| format!("c{n}")).collect();
    let row = vec!["1"; COLUMNS].join(",");
    project.write("t.csv", &format!("{}\n{row}\n{row}\n", names.join(",")));
    let rules: String = names
        .iter()
        .map(|name| {
            format!("      {name}: {{type: number, references: {{table: t, column: c0}}}}\n")
        })
        .collect();
    let rules = rules.replacen(", references: {table: t, column: c0}", "", 1);
    project.write(
        "schema.yaml",
        &format!("tables:\n  t:\n    columns:\n{rules}"),
    );
    let dropped = names[1..].join(", ");
    project.write(
        "serin.yaml",
        &format!(
            "model: m\nbucket: gs://abc\ndata:\n  tables: {{t: t.csv}}\n  label: {{column: c0}}\n  drop: [{dropped}]\n\
             lint: {{schema: schema.yaml}}\ntrain: {{builtin: {{}}}}\nvalidate: {{require: none}}\ndeploy: {{endpoint: e}}\n"
        ),
    );
    let lint = ["lint", "--config", "project/serin.yaml"];
    project.serin(&lint).expect(1);
}

#[test]
fn a_text_without_end_of_brackets_is_an_error_in_a_sentence() {
    let project = Project::empty();
    let deep = "[".repeat(100_000);
    let block = "- ".repeat(100_000);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    for text in [&deep, &block, &bomb] {
        for (file, arguments) in [
            ("cloudbuild.yaml", &["run", "--check", "project"][..]),
            ("serin.yaml", &["lint", "--config", "project/serin.yaml"]),
        ] {
            project.write(file, text);
            let refused = project.serin(arguments).expect(2);
            let place = format!("error: project/{file}:");
            assert!(refused.stderr.starts_with(&place), "{}", refused.stderr);
            assert!(refused.stderr.len() < 1000, "{}", refused.stderr.len());
        }
    }
}
