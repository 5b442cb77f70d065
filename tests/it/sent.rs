//! serin's image is built from what each way of building sends: `docker build .` what .dockerignore leaves,
//! `gcloud builds submit` what .gcloudignore leaves, of which docker then sends on what .dockerignore leaves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Project, ended};

/// Paths from the top of a folder.
pub type Files = BTreeSet<String>;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// A build whose only step does nothing, to see what arrives in its workspace.
const NOTHING: &str =
    "steps: [{name: us-central1-docker.pkg.dev/p/serin/serin, args: [--version]}]\n";

/// The files of a folder that are for a pattern to leave out or not.
fn files_of(folder: &Path, leave_out: &dyn Fn(&str) -> bool) -> Files {
    fn walk(top: &Path, folder: &str, leave_out: &dyn Fn(&str) -> bool, found: &mut Files) {
        for entry in fs::read_dir(top.join(folder)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{folder}{name}");
            if leave_out(&path) {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => walk(top, &format!("{path}/"), leave_out, found),
                false => assert!(found.insert(path)),
            }
        }
    }
    let mut found = Files::new();
    walk(folder, "", leave_out, &mut found);
    found
}

/// What `gcloud builds submit` packs, as gcloud itself says; `None` on a machine without it.
fn by_gcloud(folder: &Path) -> Option<Files> {
    let settings = tempfile::tempdir().unwrap();
    let listed = Command::new("gcloud")
        .args(["meta", "list-files-for-upload"])
        .arg(folder)
        .env("CLOUDSDK_CONFIG", settings.path())
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let listed = ended(listed).expect(0).stdout;
    Some(listed.lines().map(str::to_owned).collect())
}

/// The same as `serin run` says.
fn by_serin(folder: &Path) -> Files {
    let project = Project::empty();
    let config = project.folder.path().join("nothing.yaml");
    fs::write(&config, NOTHING).unwrap();
    let (folder, config) = (folder.to_str().unwrap(), config.to_str().unwrap());
    let run = ["run", folder, "--config", config];
    project
        .serin(&[&run[..], &["--state", "state", "--workspace", "workspace"]].concat())
        .expect(0);
    files_of(&project.workspace(), &|path| path == ".serin")
}

/// Whether docker sends a file, by the rules of .dockerignore: the last line decides that is the file or a
/// folder above it. Of docker's patterns only a lone `*` is understood here, and none but it may be there.
fn docker_sends(rules: &str, file: &str) -> bool {
    let lines = rules
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut sends = true;
    for line in lines {
        let (negated, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, line),
        };
        let is_plain = !pattern.contains(['*', '?', '[', '\\', ' ']) && !pattern.ends_with('/');
        assert!(pattern == "*" || is_plain, "teach this test `{line}`");
        let rest = file.strip_prefix(pattern);
        if pattern == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            sends = negated;
        }
    }
    sends
}

/// Of these files those that docker sends to its builder.
fn sent_by_docker(files: &Files) -> Files {
    let rules = fs::read_to_string(Path::new(TOP).join(".dockerignore")).unwrap();
    let sent = files.iter().filter(|file| docker_sends(&rules, file));
    sent.cloned().collect()
}

/// What `docker build .` sends from the top of the sources.
pub fn docker_context() -> Files {
    let outside = ["target", ".git", ".serin"];
    sent_by_docker(&files_of(Path::new(TOP), &|path| outside.contains(&path)))
}

/// Carries out the instructions of the Dockerfile's stages that compile, in a folder instead of an image.
struct Stages<'a> {
    context: &'a Path,
    workdir: &'a Path,
    /// What the stages call `/image`.
    image: &'a Path,
    profile: &'a str,
}

impl Stages<'_> {
    fn carry_out(&self) {
        let text = fs::read_to_string(Path::new(TOP).join("Dockerfile")).unwrap();
        let text = text.replace("\\\n", "");
        let (_, stages) = text.split_once(" AS dependencies\n").unwrap();
        let (stages, _) = stages.split_once("FROM scratch AS context").unwrap();
        let mut runs = 0;
        for line in stages
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let (instruction, rest) = line.split_once(' ').unwrap();
            match instruction {
                "FROM" | "ARG" | "WORKDIR" => {}
                "COPY" => {
                    let mut paths: Vec<&str> = rest.split(' ').collect();
                    let to = self.workdir.join(paths.pop().unwrap());
                    for path in paths {
                        self.copy(path, &to);
                    }
                }
                "RUN" => {
                    runs += 1;
                    self.run(rest);
                }
                _ => panic!("teach this test `{line}`"),
            }
        }
        assert_eq!(runs, 2, "{stages}");
    }

    /// A file goes into a folder, of a folder what is in it.
    fn copy(&self, path: &str, to: &Path) {
        let from = self.context.join(path);
        let Ok(is_folder) = fs::metadata(&from).map(|m| m.is_dir()) else {
            panic!("`{path}` is not sent");
        };
        let copied = if is_folder {
            fs::create_dir_all(to).unwrap();
            Command::new("cp")
                .arg("-a")
                .arg(from.join("."))
                .arg(to)
                .output()
        } else {
            Command::new("cp").arg("-a").arg(&from).arg(to).output()
        };
        ended(copied.unwrap()).expect(0);
    }

    fn run(&self, line: &str) {
        let line = line.replace(" /image", &format!(" {}", self.image.display()));
        let mut run = Command::new("sh");
        run.args(["-c", &line])
            .current_dir(self.workdir)
            .env("PROFILE", self.profile)
            .env("CARGO_NET_OFFLINE", "true")
            // That it compiles is what is asked.
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null());
        // What cargo tells the tests of their package would make build scripts run again.
        for (name, _) in std::env::vars() {
            let told = [
                "CARGO_PKG_",
                "CARGO_MANIFEST_",
                "CARGO_BIN_",
                "CARGO_CRATE_",
            ];
            if told.iter().any(|prefix| name.starts_with(prefix)) {
                run.env_remove(name);
            }
        }
        ended(run.output().unwrap()).expect(0);
    }
}

/// Puts the compiled dependencies of these tests where cargo looks for them, so that it compiles serin alone.
fn lend_dependencies(target: &Path) {
    let own = Path::new(env!("CARGO_BIN_EXE_serin")).parent().unwrap();
    let to = target.join(own.file_name().unwrap());
    // What cargo writes in place is copied; of the rest, a gigabyte, links are enough.
    for (folder, how) in [("deps", "-al"), ("build", "-a"), (".fingerprint", "-a")] {
        let (from, to) = (own.join(folder), to.join(folder));
        fs::create_dir_all(&to).unwrap();
        let mut copy = Command::new("cp");
        for entry in fs::read_dir(from).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let is_own = name.trim_start_matches("lib").starts_with("serin");
            if !is_own && !name.starts_with("it-") {
                copy.arg(entry.path());
            }
        }
        ended(
            copy.args([how, "--target-directory"])
                .arg(to)
                .output()
                .unwrap(),
        )
        .expect(0);
    }
}

#[test]
fn docker_and_gcloud_send_what_the_image_is_built_from() {
    let submitted = by_gcloud(Path::new(TOP)).unwrap_or_else(|| by_serin(Path::new(TOP)));
    for file in [
        "Dockerfile",
        ".dockerignore",
        "cloudbuild/serin/cloudbuild.yaml",
    ] {
        assert!(submitted.contains(file), "`{file}` is not submitted");
    }
    // cloudbuild/serin tests in what was submitted, so all the tests' files have to be there.
    assert!(submitted.contains("cloudbuild/churn/.gcloudignore"));
    let sent = sent_by_docker(&submitted);
    assert_eq!(sent, docker_context());

    // Beside the target folder, which hard links do not leave.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [context, workdir, image] =
        ["context", "src", "image"].map(|name| folder.path().join(name));
    for file in &sent {
        let to = context.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(TOP).join(file), to).unwrap();
    }
    let target = workdir.join("target");
    lend_dependencies(&target);
    let built = Path::new(env!("CARGO_BIN_EXE_serin")).parent().unwrap();
    Stages {
        context: &context,
        workdir: &workdir,
        image: &image,
        profile: match built.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            profile => profile,
        },
    }
    .carry_out();

    let program = image.join("usr/local/bin/serin");
    let project = Project::churn();
    let mut init = Command::new(&program);
    init.args([
        "init",
        "--label=churn",
        "--join-on=customer_id",
        "--dir=own",
    ]);
    init.args(["project/data/account.csv", "project/data/usage.csv"]);
    let init = init.current_dir(project.folder.path()).output().unwrap();
    ended(init).expect(0).says("wrote own/.gcloudignore");
    let ignored = fs::read_to_string(project.folder.path().join("own/.gcloudignore")).unwrap();
    assert!(ignored.contains("\n.serin/\n"), "{ignored}");
}

/// The patterns in which gcloud is least like git, and its ways with the files beside them.
#[test]
fn serin_and_gcloud_leave_out_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    for file in [
        "*.txt",
        "^.txt",
        "a.txt",
        "dir/a.txt",
        "sub/b.log",
        "sub/dir/a.txt",
        ".git/x",
    ] {
        let path: PathBuf = top.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let Some(all) = by_gcloud(top) else {
        eprintln!("SKIPPED: needs gcloud");
        return;
    };
    assert_eq!(by_serin(top), all);
    let patterns = [
        "*/a.txt",
        "[^a].txt",
        "\\*.txt",
        "dir/ ",
        "sub/**\n!sub/b.log",
        "*\n!/sub",
    ];
    std::thread::scope(|scope| {
        for pattern in patterns {
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let mut copy = Command::new("cp");
                copy.arg("-a").arg(top.join(".")).arg(folder.path());
                ended(copy.output().unwrap()).expect(0);
                fs::write(folder.path().join(".gcloudignore"), format!("{pattern}\n")).unwrap();
                let theirs = by_gcloud(folder.path()).unwrap();
                assert_eq!(by_serin(folder.path()), theirs, "{pattern:?}");
            });
        }
    });
}
