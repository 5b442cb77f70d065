//! Every request of `serin trigger check`, `fire` and `listen` fails in every way: it is refused, its connection breaks,
//! no answer comes, each before and after it took effect, or the process is killed at it. One build of a key gets past
//! its first step, and none is lost.
//!
//! Unless `SERIN_FAULTS=all` asks for each way at each request, each request fails in one, by turns.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use serin::clock::Timestamp;

use crate::emulate::client;
use crate::harness::{Ended, Running};
use crate::listen::{ACCOUNT, AUDIENCE, LISTEN, push, started, token};
use crate::support::lossy::{Fate, Proxy, Trouble};
use crate::triggers::{Cloud, with_champion};

/// What goes wrong at a request.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    fate: Fate,
    /// The process is killed there.
    killed: bool,
}

/// Everything that can go wrong.
fn all() -> Vec<Wrong> {
    let lives = Fate::all().into_iter().map(|fate| Wrong {
        fate,
        killed: false,
    });
    let dies = Fate::all().into_iter().filter_map(|fate| {
        (fate.trouble == Trouble::Silent).then_some(Wrong { fate, killed: true })
    });
    lives.chain(dies).collect()
}

/// Has requests fail, the first, the second and so on, until there is none left; `fails` says whether the request
/// came, and gets a name for what it does that no other has.
fn at_every_request(mut fails: impl FnMut(usize, Wrong, &str) -> bool) {
    let all = all();
    let each = std::env::var("SERIN_FAULTS").is_ok_and(|word| word == "all");
    let turn = usize::try_from(std::process::id()).unwrap() % all.len();
    println!("SERIN_FAULTS=all asks for all; the first turn is {turn}");
    for n in 0..1000 {
        let of_turn = (turn + n) % all.len();
        let mut came = false;
        for (kind, wrong) in all.iter().enumerate() {
            if each || kind == of_turn {
                came |= fails(n, *wrong, &format!("{n}-{kind}"));
            }
        }
        if !came {
            assert!(n > 5, "{n} requests are too few");
            println!("{n} requests");
            return;
        }
    }
}

/// The clock of all processes of a test: what is two minutes old on it is so within a second.
fn clock() -> String {
    let now = Timestamp::real_now();
    format!("300@{now}={now}")
}

/// A command on this clock.
fn at(mut command: Command, clock: &str) -> Command {
    command.env("SERIN_CLOCK", clock);
    command
}

/// The same, which gives a request up soon where that is how it fails.
fn hurried(command: Command, clock: &str, wrong: Wrong) -> Command {
    let mut command = at(command, clock);
    if wrong.fate.trouble == Trouble::Silent {
        command.env("CLOUDSDK_CORE_HTTP_TIMEOUT", "3");
    }
    command
}

/// Runs a command behind a proxy. One failure is got over; who is killed is run again without one. Gives the last
/// words, and whether the request came.
fn run(
    cloud: &Cloud,
    arguments: &[&str],
    clock: &str,
    (n, wrong): (usize, Wrong),
) -> (Ended, bool) {
    let proxy = Proxy::before(&cloud.url, n, wrong.fate);
    let command = |url: &str| hurried(cloud.command_by(url, arguments), clock, wrong);
    let again = || crate::harness::ended(at(cloud.command(arguments), clock).output().unwrap());
    if !wrong.killed {
        let first = crate::harness::ended(command(&proxy.url).output().unwrap());
        let asked = proxy.asked();
        let said = format!("{n} {wrong:?} {asked:?}");
        assert_eq!(first.code, Some(0), "{said}\n{}", first.stderr);
        return (first, proxy.was_reached());
    }
    let mut running = Running::new(&mut command(&proxy.url));
    proxy.wait_for(|| running.is_over());
    if !running.is_over() {
        running.signal(Signal::KILL);
        running.wait();
    }
    (again(), proxy.was_reached())
}

/// The decision on a cause, of the last line of a check.
fn decision(ended: &Ended, cause: &str) -> String {
    let line = ended.stdout.lines().last().unwrap();
    let checked: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let findings = checked["findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["cause"] == cause);
    found.unwrap()["decision"].as_str().unwrap().to_owned()
}

/// Runs a check until no build is being started any more.
fn until_started(cloud: &Cloud, arguments: &[&str], clock: &str, cause: &str, mut last: Ended) {
    let end = Instant::now() + Duration::from_secs(30);
    while decision(&last, cause) == "starting" {
        assert!(Instant::now() < end, "{}", last.stdout);
        std::thread::sleep(Duration::from_millis(100));
        let command = &mut at(cloud.command(arguments), clock);
        last = crate::harness::ended(command.output().unwrap()).expect(0);
    }
}

#[test]
fn whatever_fails_of_a_start_one_build_is_made() {
    let cloud = Cloud::small("", &[]);
    let clock = clock();
    let mut keys = Vec::new();
    at_every_request(|n, wrong, name| {
        let fire = [
            "trigger", "fire", "--reason", "r", "--key", name, "--format", "json",
        ];
        let (ended, came) = run(&cloud, &fire, &clock, (n, wrong));
        until_started(&cloud, &fire, &clock, "on_demand", ended.expect(0));
        keys.push(format!("on-demand-{name}"));
        came
    });
    cloud.settle();
    for key in keys {
        assert_eq!(cloud.past_first_step(&key), 1, "{key}");
    }
}

#[test]
fn whatever_fails_of_a_look_one_build_is_made() {
    let cloud = with_champion(
        "  new_data: {objects: gs://my-project-churn/incoming/}\n  performance: {metric: roc_auc, below: 0.88, labels: {local: labels.csv, key: customer_id}}\n  drift: {psi: 0.2}\n  limits: {cool_down: 0s, per_day: 1000, one_at_a_time: false}",
        "validate",
        Cloud::make_trigger,
    );
    let clock = clock();
    let check = ["trigger", "check", "--format", "json"];
    let mut count = 0;
    at_every_request(|n, wrong, _| {
        // Another window is another key.
        count += 1;
        let day = Timestamp::from_unix_micros(count * 86_400_000_000);
        let monitor = json!({
            "format": 1, "model": "customer-churn", "version": "1", "from": day, "until": day + Duration::from_secs(60),
            "performance": [{"metric": "roc_auc", "value": 0.8, "labelled": 400, "predictions": 1000}],
        });
        cloud.put("monitor/customer-churn/monitor.json", &monitor);
        let (ended, came) = run(&cloud, &check, &clock, (n, wrong));
        until_started(&cloud, &check, &clock, "performance", ended.expect(0));
        came
    });
    cloud.settle();
    let keys = keys(&cloud);
    assert_eq!(keys.len(), usize::try_from(count).unwrap(), "{keys:?}");
    for key in keys {
        assert_eq!(cloud.past_first_step(&key), 1, "{key}");
    }
}

/// The keys of all builds.
fn keys(cloud: &Cloud) -> BTreeSet<String> {
    let key = |build: &Value| {
        let key = build["substitutions"]["_SERIN_KEY"].as_str();
        key.unwrap().to_owned()
    };
    cloud.builds().iter().map(key).collect()
}

/// Sends an event once: the code, or none where the server is gone.
fn send(url: &str, token: &str, event: &str) -> Option<u16> {
    let request = client().post(url).header("authorization", token);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(request.body(event.to_owned()).send());
    answer.ok().map(|answer| answer.status().as_u16())
}

#[test]
fn whatever_fails_of_an_event_one_build_is_made() {
    let cloud = Cloud::small(LISTEN, &[]);
    let clock = clock();
    let token = token(&cloud, ACCOUNT, AUDIENCE);
    let listen = |url: &str| cloud.command_by(url, &["listen", "--port", "0"]);
    let mut count = 0;
    at_every_request(|n, wrong, _| {
        count += 1;
        let event = push(
            count,
            json!({"cause": "on_demand", "reason": "labels came"}),
        );
        let proxy = Proxy::before(&cloud.url, n, wrong.fate);
        let (mut server, url) = started(&mut hurried(listen(&proxy.url), &clock, wrong));
        if !wrong.killed {
            let code = send(&url, &token, &event);
            assert_eq!(code, Some(200), "{n} {wrong:?} {:?}", proxy.asked());
            return proxy.was_reached();
        }
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(&url, &token, &event));
            proxy.wait_for(|| sender.is_finished());
            server.signal(Signal::KILL);
            server.wait();
        });
        // It was not acknowledged, so it comes again, until it is.
        let (_server, url) = started(&mut at(listen(&cloud.url), &clock));
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            match send(&url, &token, &event) {
                Some(200) => break,
                code => assert!(Instant::now() < end, "{n} {wrong:?} {code:?}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        proxy.was_reached()
    });
    cloud.settle();
    let keys = keys(&cloud);
    assert_eq!(keys.len(), usize::try_from(count).unwrap(), "{keys:?}");
    for key in keys {
        assert_eq!(cloud.past_first_step(&key), 1, "{key}");
    }
}
