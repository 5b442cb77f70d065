//! Pushes that mean harm, or come with more than a push may have.

use std::fs;

use super::{CONFIG, HOST, Work, builds, on_branch, only_repository, repository, told};
use crate::cloudbuild::wait_for;
use crate::emulate::{client, emulate_with, get_text, text_answer};
use crate::harness::Project;

#[test]
fn hostile_pushes_are_refused_and_leave_nothing() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", &["--builds=host", "--max-push", "1"]);
    let address = repository(&url, "churn");
    on_branch(&url, "all", ".*");
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    work.push(&address, &["main"]);
    let before = builds(&url);

    // Trees whose files lie elsewhere, which no git makes by itself.
    let blob = work.piped(&["hash-object", "-w", "--stdin"], b"x");
    let bytes: Vec<u8> = (0..40)
        .step_by(2)
        .map(|i| u8::from_str_radix(&blob[i..i + 2], 16).unwrap())
        .collect();
    for name in ["..", ".git", "../../x", ".GIT", "a/../../b"] {
        let tree = [format!("100644 {name}\0").into_bytes(), bytes.clone()].concat();
        let tree = work.piped(
            &["hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
            &tree,
        );
        let commit = work.git(&["commit-tree", "-m", "evil", &tree]);
        let pushed = work.tried(&["push", &address, &format!("{commit}:refs/heads/evil")]);
        assert_ne!(pushed.code, Some(0), "{name}: {}", pushed.stderr);
    }
    // A link out of the source is pushed, and its build does not read what it leads to.
    std::os::unix::fs::symlink("/etc/passwd", work.folder.join("link")).unwrap();
    work.commit("a", "");
    let id = told(&work.push(&address, &["main"])).remove(0);
    let failed = wait_for(&url, &id, &["FAILURE", "SUCCESS"]);
    assert_eq!(
        failed["failureInfo"]["type"], "FETCH_SOURCE_FAILED",
        "{failed}"
    );
    work.git(&["rm", "--quiet", "link"]);

    // More than a push may have, packed and as it is.
    let noise: String = (0..300_000_u64)
        .map(|n| {
            format!(
                "{:x}",
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
            )
        })
        .collect();
    work.commit("noise", &noise);
    let pushed = work.tried(&["push", &address, "main"]);
    assert_ne!(pushed.code, Some(0), "{}", pushed.stderr);
    work.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let advertised = work.git(&["ls-remote", &address]);
    assert!(!advertised.contains("evil"), "{advertised}");
    assert_eq!(builds(&url).len(), before.len() + 1);

    // No name leads out, no file of a repository's own is handed out, and no other path is git's.
    for path in [
        "/p/p/r/../../x/info/refs?service=git-upload-pack",
        "/p/p/r/churn/../../../etc/info/refs?service=git-upload-pack",
        "/p/p/r/%2e%2e/info/refs?service=git-upload-pack",
        "/p/p/r/churn%2f..%2f1.git/info/refs?service=git-upload-pack",
        "/p/p/r/churn/config",
        "/p/p/r/churn/HEAD",
        "/p/p/r/churn/objects/info/packs",
        "/p/p/r/1.git/info/refs?service=git-upload-pack",
    ] {
        let (head, body) = crate::harness::exchange(
            url.trim_start_matches("http://"),
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        );
        assert!(head.starts_with("HTTP/1.1 40"), "{path}: {head}\n{body}");
        assert!(!body.contains("bare"), "{path}: {body}");
    }
    for service in ["", "?service=git-archive", "?service=git-upload-pack%20--x"] {
        assert_eq!(
            get_text(&format!("{address}/info/refs{service}")).0,
            403,
            "{service}"
        );
    }
    // Nor does a page of another origin push.
    let asked = client()
        .post(format!("{address}/git-receive-pack"))
        .header("origin", "https://evil.example")
        .body("0000");
    let (code, said) = text_answer(asked);
    assert_eq!(code, 403, "{said}");
    // What is no request of git's ends its own process, and nothing else.
    for body in [&b"nonsense"[..], b"ffff", b"0005\0", &[0xff; 4096]] {
        let kind = "application/x-git-receive-pack-request";
        let asked = client().post(format!("{address}/git-receive-pack"));
        text_answer(asked.header("content-type", kind).body(body.to_vec()));
    }
    work.commit("b", "");
    assert_eq!(told(&work.push(&address, &["main"])).len(), 1);
}

#[test]
fn a_hook_in_a_repository_does_not_run() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let address = repository(&url, "churn");
    let kept = only_repository(&project);
    let hooks = kept.join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    let ran = project.folder.path().join("ran");
    for name in [
        "pre-receive",
        "update",
        "post-receive",
        "post-update",
        "reference-transaction",
    ] {
        let hook = hooks.join(name);
        fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&hook, mode).unwrap();
    }
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    work.push(&address, &["main"]);
    assert!(!ran.exists());
}
