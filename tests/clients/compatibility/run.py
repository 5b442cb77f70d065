#!/usr/bin/env python3
"""The suites of Google's own clients against `serin emulate`, held against what docs/compatibility.md says of them.

    python3 tests/clients/compatibility/run.py [--suite NAME]… [--part] [--update] [--serin PROGRAM]

Each suite gets an emulator of its own on a free port, the variables that `serin emulate env` prints, and nothing else
that a client could find it by: no home, no account, and a proxy before all other hosts that refuses and notes them.
`expected.json` has every failure with its reason. A failure without one fails the run, and so does a test that passes
though it has one; `--update` writes the file and the table in docs/compatibility.md anew, with the reason that an error
states itself, and leaves to you what is to stand where it says `to be explained`. `--part` is what `.ci/test` runs: all
but the slow tools, in three minutes.

Google's suites are read from their source archives, which pip downloads into target/ and whose hashes suites.txt has.
A tool that is not installed here is skipped with a line that says so.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[2]
TARGET = TOP / "target" / "compatibility"
PYTHON = TOP / "target" / "python" / "compatibility"
EXPECTED = HERE / "expected.json"
TABLE = TOP / "docs" / "compatibility.md"
MARK = "<!-- What follows is written by tests/clients/compatibility/run.py --update. -->\n"
UNEXPLAINED = "to be explained"
# What an error says of itself, as the reason that --update writes.
SAID = [
    (r"need a private key|[Dd]efault credentials", "real account needed"),
    (r"googleapis\.com.*ProxyError", "the client asks Google's own host, whatever it is told"),
    (r"[Tt]his emulator has no ([\w' -]+)", r"stated as not emulated: \1"),
    (r"[Tt]his emulator runs ([\w' -]+)", r"stated as not emulated: it runs \1"),
]
INSTANCE = json.dumps({"state": "OH", "total_day_minutes": 161.6})


class Missing(Exception):
    """A suite cannot be run on this machine."""


class Proxy(BaseHTTPRequestHandler):
    """Refuses every host, and notes which were asked for."""

    def refuse(self):
        self.server.asked.add(self.path.split("://")[-1].split("/")[0].split(":")[0])
        self.send_error(403, "out of reach of the suites")

    do_CONNECT = do_GET = do_POST = do_PUT = do_HEAD = refuse

    def log_message(self, *_):
        pass


class Place:
    """Where a suite runs: a folder, the environment of `serin emulate env`, and emulators that end with it."""

    def __init__(self, serin):
        self.serin, self.emulators = serin, []
        self.folder = Path(tempfile.mkdtemp(prefix="serin-suite-"))
        self.proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        self.proxy.asked = set()
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for emulator in self.emulators:
            emulator.terminate()
        for emulator in self.emulators:
            emulator.wait(20)
        self.proxy.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def emulate(self, *flags):
        """Starts an emulator; gives its address."""
        state = self.folder / f"state{len(self.emulators)}"
        command = [self.serin, "emulate", "--port=0", f"--state={state}", *flags]
        log = open(self.folder / f"{state.name}.log", "w")
        emulator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.emulators.append(emulator)
        for line in emulator.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                threading.Thread(target=emulator.stdout.read, daemon=True).start()
                return found[0]
        raise RuntimeError(f"{' '.join(map(str, command))} ended: {Path(log.name).read_text()}")

    def environment(self, url, **more):
        """What `serin emulate env` prints, over the little that programs need to start."""
        kept = ("PATH", "LANG", "PIP_CERT", "PYENV_ROOT")
        proxy = f"http://127.0.0.1:{self.proxy.server_port}"
        bare = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(self.folder),
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            # No account is looked for at a virtual machine's address.
            "NO_GCE_CHECK": "true",
        }
        script = f'eval "$("{self.serin}" emulate env --url {url})"; env -0'
        told = subprocess.run(["bash", "-c", script], env=bare, capture_output=True, text=True, check=True).stdout
        return dict(line.split("=", 1) for line in told.split("\0") if line) | more


def run(command, seconds, **options):
    """Runs a program for so many seconds at most, in a group of its own; gives what it printed."""
    program = subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        **options,
    )
    try:
        return program.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, 9)
        return program.communicate()[0] + f"\nended after {seconds} s"


def python():
    """The interpreter with the packages of tests/clients/compatibility.txt, as `.ci/test` makes it."""
    file, interpreter = HERE.parent / "compatibility.txt", PYTHON / "bin" / "python"
    stamp = subprocess.run(["cksum", file.relative_to(TOP)], cwd=TOP, capture_output=True, text=True).stdout.strip()
    kept = PYTHON / "stamp"
    if not kept.exists() or kept.read_text().strip() != stamp:
        shutil.rmtree(PYTHON, ignore_errors=True)
        subprocess.run(["python3", "-m", "venv", PYTHON], check=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "-r", file], check=True)
        kept.write_text(stamp + "\n")
    return interpreter


def archive(name):
    """The unpacked source archive of a package in suites.txt."""
    version = re.search(rf"^{name}==(\S+)", (HERE / "suites.txt").read_text(), re.M)[1]
    folder = TARGET / f"{name.replace('-', '_')}-{version}"
    if not folder.exists():
        packed = TARGET / "archives"
        options = ["--quiet", "--no-deps", "--no-binary=:all:", "--require-hashes", f"--dest={packed}"]
        subprocess.run([python(), "-m", "pip", "download", *options, "-r", HERE / "suites.txt"], check=True)
        for file in packed.glob("*.tar.gz"):
            shutil.unpack_archive(file, TARGET, filter="data")
    return folder


LOCK = threading.Lock()


def prepared(make, *arguments):
    """What several suites need is made once, by the first."""
    with LOCK:
        try:
            return make(*arguments)
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("CI") == "true":
                raise
            raise Missing(f"its packages cannot be had: {error}") from error


def model(serin):
    """A folder with a model of serin, from the build of cloudbuild/churn, and an instance for it."""
    folder = TARGET / "model"
    if not (folder / "model.json").exists():
        with tempfile.TemporaryDirectory() as made:
            shutil.copytree(TOP / "cloudbuild" / "churn", f"{made}/churn")
            command = [serin, "run", "churn", "--workspace=workspace", "--state=state"]
            subprocess.run(command, cwd=made, check=True, capture_output=True)
            shutil.copytree(f"{made}/workspace/.serin/model", folder, dirs_exist_ok=True)
    return folder


def pytest(place, url, package, tests, plugin="", workers=4, seconds=600, **environment):
    """Runs tests of an archive; gives how each ended."""
    folder = prepared(archive, package)
    report = place.folder / "report.xml"
    command = [prepared(python), "-m", "pytest", tests, "-q", f"-n{workers}", "--timeout=120", "--tb=native", "--color=no"]
    command += ["-pno:cacheprovider", f"--junitxml={report}", *([f"-p{plugin}"] if plugin else [])]
    environment = place.environment(url, PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1", **environment)
    said = run(command, seconds, cwd=folder, env=environment)
    (TARGET / f"{plugin or package}.log").write_text(said)
    if not report.exists():
        raise RuntimeError(f"{package}: no report: {said[-2000:]}")
    results = {}
    for case in xml.parse(report).iter("testcase"):
        module = re.sub(r"^(tests\.(system|conformance)|gcsfs\.tests|gcsfs)\.?", "", case.get("classname") or "")
        name = f"{module}.{case.get('name')}".lstrip(".")
        ended = {child.tag: child.get("message") or "" for child in case}
        kinds = (("failure", "fail"), ("error", "fail"), ("skipped", "skip"))
        end = next(((kind, ended[tag]) for tag, kind in kinds if tag in ended), ("pass", ""))
        if results.get(name, ("", ""))[0] != "fail":
            results[name] = end
    return results


def script(place, url, command, seconds, **environment):
    """Runs a script of calls; gives how each ended."""
    folder = place.folder / "calls"
    folder.mkdir(exist_ok=True)
    said = run(command, seconds, cwd=folder, env=place.environment(url, **environment))
    results = {}
    for line in said.splitlines():
        if found := re.match(r"(PASS|FAIL) (\w+)(?:: (.*))?", line):
            results[found[2]] = (found[1].lower(), found[3] or "")
    if not results:
        raise RuntimeError(f"{command[1]}: no results: {said[-2000:]}")
    return results


def python_storage(place):
    url = place.emulate("--time-scale=1")
    return pytest(place, url, "google-cloud-storage", "tests/system", workers=8)


def python_storage_account(place):
    url = place.emulate("--time-scale=1")
    return pytest(place, url, "google-cloud-storage", "tests/system", "made_up_account")


def retry_conformance(place):
    """The suite starts its testbench by docker, which is a program that does nothing here."""
    url = place.emulate("--time-scale=1")
    tools = place.folder / "tools"
    tools.mkdir()
    (tools / "docker").symlink_to(shutil.which("true"))
    tests = "tests/conformance/test_conformance.py"
    path = f"{tools}:{os.environ['PATH']}"
    return pytest(place, url, "google-cloud-storage", tests, "conformance", 12, PATH=path)


def gcsfs(place):
    """Its tests share a bucket by name, so each worker has an emulator of its own."""
    urls = [place.emulate("--time-scale=1") for _ in range(6)]
    return pytest(place, urls[0], "gcsfs", "gcsfs", "own_emulator", len(urls), SERIN_EMULATORS=" ".join(urls))


def node(place):
    if not shutil.which("npm"):
        raise Missing("there is no npm")
    folder = place.folder / "calls"
    shutil.copytree(HERE / "node", folder)
    prepared(lambda: subprocess.run(["npm", "ci", "--silent"], cwd=folder, check=True))
    url = place.emulate("--time-scale=1")
    return script(place, url, ["node", folder / "storage_calls.mjs"], 300)


def vertex_emulator(place):
    return place.emulate("--time-scale=300", "--builds=host", "--host=python:*=python3")


def aiplatform(place):
    folder = prepared(model, place.serin)
    command = [prepared(python), HERE / "aiplatform_calls.py", folder, INSTANCE]
    return script(place, vertex_emulator(place), command, 900)


def discovery(place):
    command = [prepared(python), HERE / "discovery_calls.py"]
    return script(place, vertex_emulator(place), command, 300)


def tool(name):
    def suite(place):
        if not shutil.which(name):
            raise Missing(f"there is no {name}")
        folder = prepared(model, place.serin)
        url = vertex_emulator(place)
        command = [sys.executable, HERE / "command_calls.py", name, folder, INSTANCE]
        return script(place, url, command, 1500, CLOUDSDK_CORE_DISABLE_PROMPTS="1")

    return suite


# Name: what the table calls it, how it runs, whether `--part` has it.
SUITES = {
    "python-storage": ("python-storage 3.17.1, its system tests", python_storage, True),
    "python-storage-account": (
        "python-storage, what it skips without an account or a payer, with both made up",
        python_storage_account,
        True,
    ),
    "retry-conformance": ("Google's retry conformance tests of the JSON API, by python-storage 3.17.1", retry_conformance, True),
    "gcsfs": ("gcsfs 2026.3.0, its own suite", gcsfs, True),
    "node": ("Node's @google-cloud/storage 7.22.0", node, True),
    "aiplatform": ("google-cloud-aiplatform 2.7.0", aiplatform, True),
    "discovery": ("google-api-python-client 2.202.0", discovery, True),
    "gcloud": ("gcloud 528: storage, ai, builds, logging, and the services that start builds", tool("gcloud"), False),
    "gsutil": ("gsutil 5.34", tool("gsutil"), False),
    "bq": ("bq 2.1.18, refused", tool("bq"), False),
}


def brief(reason):
    """Why a suite skips a test of its own, without what differs from run to run."""
    return re.sub(r"\s+", " ", reason).strip()[:160]


def table(expected):
    """The part of docs/compatibility.md that follows from the tests."""
    lines = ["| suite | passes | fails, for a reason below | left out by itself |", "|---|---|---|---|"]
    for name, (title, _, _) in SUITES.items():
        if name in expected:
            one = expected[name]
            fails = sum(map(len, one["fails"].values()))
            lines.append(f"| {title} | {one['passes']} | {fails} | {sum(one['skips'].values())} |")
    for name, (title, _, _) in SUITES.items():
        one = expected.get(name, {})
        if one.get("fails") or one.get("skips"):
            lines += ["", f"## {title}"]
        if one.get("fails"):
            lines += ["| why | tests that fail |", "|---|---|"]
            ordered = sorted(one["fails"].items(), key=lambda item: (-len(item[1]), item[0]))
            lines += [f"| {cell(why)} | {len(tests)}: {cell(named(tests))} |" for why, tests in ordered]
        if one.get("fails") and one.get("skips"):
            lines.append("")
        if one.get("skips"):
            lines += ["| why it leaves out | tests |", "|---|---|"]
            ordered = sorted(one["skips"].items(), key=lambda item: (-item[1], item[0]))
            lines += [f"| {cell(why)} | {count} |" for why, count in ordered]
    return "\n".join(lines) + "\n"


def named(tests):
    """The tests of a cell; parameters are left out, and of many only the first are named."""
    names = list(dict.fromkeys(test.split("[")[0] for test in tests))
    shown = ", ".join(f"`{name}`" for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def cell(text):
    return text.replace("|", "\\|")


# Whether a test fails for this reason depends on the moment: gcsfs lists the bucket while it deletes it.
UNSTEADY = "a bucket with older versions is not empty"


def judge(name, results, expected):
    """What is wrong with a suite's results."""
    reasons = {test: why for why, tests in expected.get("fails", {}).items() for test in tests}
    unsteady = {test for test, why in reasons.items() if UNSTEADY in why and test in results}
    results = {**results, **{test: ("fail", results[test][1]) for test in unsteady}}
    wrong = []
    for test, (end, detail) in sorted(results.items()):
        why = reasons.get(test)
        if end == "fail" and why in (None, UNEXPLAINED):
            wrong.append(f"{name}: {test} fails without a reason: {brief(detail)}")
        elif end != "fail" and why:
            wrong.append(f"{name}: {test} no longer fails ({why}): run.py --update --suite {name}")
    counted = summary(results, reasons)
    gone = sorted(set(reasons) - set(results))
    wrong += [f"{name}: {test} is expected to fail and was not run" for test in gone]
    for part in ("passes", "skips"):
        if not wrong and counted[part] != expected.get(part):
            wrong.append(f"{name}: its {part} are {counted[part]}: run.py --update --suite {name}")
    return wrong


def summary(results, reasons):
    """What expected.json says of a suite."""
    fails, skips = {}, {}
    for test, (end, detail) in sorted(results.items()):
        if end == "fail":
            said = next((found.expand(why) for words, why in SAID if (found := re.search(words, detail))), None)
            fails.setdefault(said or reasons.get(test, UNEXPLAINED), []).append(test)
        elif end == "skip":
            skips[brief(detail)] = skips.get(brief(detail), 0) + 1
    passes = sum(end == "pass" for end, _ in results.values())
    return {"passes": passes, "skips": dict(sorted(skips.items())), "fails": dict(sorted(fails.items()))}


def suite(name, serin):
    """Runs one; gives how its tests ended, or why it cannot be run here."""
    began = time.monotonic()
    try:
        with Place(serin) as place:
            results = SUITES[name][1](place)
            asked = sorted(place.proxy.asked)
    except Missing as missing:
        print(f"SKIPPED: {name}: {missing}", file=sys.stderr, flush=True)
        return None
    (TARGET / f"{name}.json").write_text(json.dumps(results, indent=1))
    count = lambda kind: sum(end == kind for end, _ in results.values())
    print(f"{name}: {count('pass')} pass, {count('fail')} fail, {count('skip')} left out, {time.monotonic() - began:.0f} s", end="")
    print(f"; asked in vain for {', '.join(asked)}" if asked else "", flush=True)
    return results


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--serin", default=TOP / "target" / "debug" / "serin", help="the program")
    words.add_argument("--suite", action="append", choices=SUITES, help="only this one; may be given several times")
    words.add_argument("--part", action="store_true", help="what .ci/test runs")
    words.add_argument("--update", action="store_true", help="write expected.json and the table anew")
    given = words.parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)
    chosen = given.suite or [name for name, (_, _, quick) in SUITES.items() if quick or not given.part]
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    with ThreadPoolExecutor(4) as workers:
        futures = {name: workers.submit(suite, name, Path(given.serin).resolve()) for name in chosen}
        results = {name: future.result() for name, future in futures.items()}
    results = {name: ended for name, ended in results.items() if ended is not None}
    head, _, below = TABLE.read_text().partition(MARK)
    if given.update:
        for name, ended in results.items():
            fails = expected.get(name, {}).get("fails", {})
            expected[name] = summary(ended, {test: why for why, tests in fails.items() for test in tests})
        ordered = {name: expected[name] for name in SUITES if name in expected}
        EXPECTED.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
        TABLE.write_text(head + MARK + table(ordered))
    wrong = [line for name, ended in results.items() for line in judge(name, ended, expected.get(name, {}))]
    if not given.update and below != table(expected):
        wrong.append("docs/compatibility.md is not what expected.json makes of it: run.py --update")
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
