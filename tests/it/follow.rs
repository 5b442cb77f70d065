//! `serin builds follow` beside builds that run: their lines in order and once, and how they ended.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::emulate::{emulate_with, get, post};
use crate::harness::{Ended, Project, Running, ended};

/// An emulator that runs builds, and commands that find it.
struct Cloud {
    project: Project,
    _emulator: Running,
    url: String,
}

impl Cloud {
    fn start() -> Self {
        let project = Project::empty();
        let (emulator, url) = emulate_with(&project, "cloud", &["--builds=host"]);
        Self {
            project,
            _emulator: emulator,
            url,
        }
    }

    /// Starts a build of one script, and gives its id.
    fn submit(&self, script: &str, logging: &str) -> String {
        let build = json!({
            "steps": [{"name": "serin", "script": script}],
            "options": {"logging": logging},
        });
        let (code, operation) = post(&format!("{}/v1/projects/p/builds", self.url), &build);
        assert_eq!(code, 200, "{operation}");
        let id = operation["metadata"]["build"]["id"].as_str();
        id.unwrap().to_owned()
    }

    /// `serin builds` with the variables of `serin emulate env`.
    fn command(&self, arguments: &[&str]) -> Command {
        let env = ["emulate", "env", "--url", &self.url, "--project", "p"];
        let env = self.project.serin(&env).expect(0).stdout;
        let serin = self.project.command(&[&["builds"], arguments].concat());
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{env}\nexec \"$@\""), "sh"]);
        command.arg(serin.get_program()).args(serin.get_args());
        command.current_dir(self.project.folder.path());
        command
    }

    fn serin(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    fn status(&self, id: &str) -> Value {
        get(&format!("{}/v1/projects/p/builds/{id}", self.url)).1["status"].clone()
    }
}

/// Prints sixty lines, some of one instant and some apart.
const LINES: &str = "#!/bin/sh
i=0
while [ $i -lt 60 ]; do
  echo line $i; echo and $i
  [ $((i % 10)) = 0 ] && sleep 0.1
  i=$((i + 1))
done
exit $CODE
";

/// The build's own lines of what `follow` printed.
fn lines(followed: &Ended) -> Vec<&str> {
    let own = |line: &&str| line.starts_with("line ") || line.starts_with("and ");
    followed.stdout.lines().filter(own).collect()
}

#[test]
fn the_lines_of_a_running_build_come_in_order_and_once() {
    let cloud = Cloud::start();
    let expected: Vec<String> = (0..60)
        .flat_map(|i| [format!("line {i}"), format!("and {i}")])
        .collect();
    for logging in ["CLOUD_LOGGING_ONLY", "GCS_ONLY"] {
        let id = cloud.submit(&LINES.replace("$CODE", "0"), logging);
        let followed = cloud.serin(&["follow", &id]).expect(0);
        assert_eq!(lines(&followed), expected, "{logging}\n{}", followed.stdout);
        let all: Vec<&str> = followed.stdout.lines().collect();
        assert_eq!(all[0], format!("build {id}, by by_hand"));
        assert_eq!(all[all.len() - 1], format!("build {id}: SUCCESS"));
        assert!(all.contains(&"DONE"), "{}", followed.stdout);
        // What has ended is told in the same way.
        let again = cloud.serin(&["follow", &id]).expect(0);
        assert_eq!(lines(&again), expected, "{logging}\n{}", again.stdout);
    }
}

#[test]
fn the_end_of_a_build_is_the_end_of_who_follows_it() {
    let cloud = Cloud::start();
    let none = cloud.serin(&["follow"]).expect(2);
    assert!(none.stderr.contains("there is no build"), "{}", none.stderr);
    let none = cloud.serin(&["follow", "b1"]).expect(2);
    none.says("there is no build `b1`");
    // The newest, where none is named; serin's own codes are its steps'.
    let failing = LINES.replace("$CODE", "3").replace("60", "3");
    let id = cloud.submit(&failing, "CLOUD_LOGGING_ONLY");
    let followed = cloud.serin(&["follow"]).expect(3);
    assert_eq!(lines(&followed).len(), 6, "{}", followed.stdout);
    followed.says(&format!("build {id}: FAILURE"));

    // Who stops following stops no build, which here waits for a file that never comes.
    let waits = "#!/bin/sh\necho begun\nwhile [ ! -e never ]; do sleep 0.1; done\n";
    let id = cloud.submit(waits, "GCS_ONLY");
    let mut following = Running::new(&mut cloud.command(&["follow", &id]));
    following.wait_for("begun");
    following.signal(Signal::INT);
    assert_eq!(following.wait(), Some(130), "{}", following.text());
    assert_eq!(cloud.status(&id), "WORKING");
    // Its end by another's hand ends who follows it, too.
    let mut following = Running::new(&mut cloud.command(&["follow", &id]));
    following.wait_for("begun");
    let cancel = format!("{}/v1/projects/p/builds/{id}:cancel", cloud.url);
    assert_eq!(post(&cancel, &json!({})).0, 200);
    assert_eq!(following.wait(), Some(1), "{}", following.text());
    following.wait_for(&format!("build {id}: CANCELLED"));
}
