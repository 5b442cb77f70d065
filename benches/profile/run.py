"""Time `serin profile` beside DuckDB and Polars, each as a whole process on two cores with a warm cache.

    cargo build --release
    python3 benches/profile/run.py [--rows 5000000] [--repeats 5] [--only main wide tiny lint] [--alone] [--serin FILE]

`lint` is the whole of `serin lint` on the main table, with the snapshot that it writes, beside `serin profile`. With --alone the peers
do not run, as for --rows 50000000, which is 12 GB of CSV. Prints a table: the medians of the seconds and of those of the processors, which other work on the machine hardly changes, the
highest memory, and how many times as long as serin each takes. Under it stands the floor: `cat` of the file, and decoding alone for Parquet. The peers come from PyPI into target/profile-bench, as does the
data, about 2 GB.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parent.parent / "target" / "profile-bench"
PACKAGES = ["duckdb==2.0.0", "numpy==2.4.6", "polars==2.1.0", "pyarrow==26.0.1"]
CORES = sorted(os.sched_getaffinity(0))[:2]


def python():
    """The interpreter that has the peers."""
    folder = FOLDER / "venv"
    found = folder / "bin" / "python"
    done = folder / "packages"
    if not done.exists() or done.read_text().split() != PACKAGES:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        done.write_text("\n".join(PACKAGES))
    return found


CONFIG = """
model: bench
bucket: gs://bench
data:
  tables: {main: table.csv}
  label: {column: sex}
  drop: [id]
  split: {test: 0.2, by: id, seed: 1}
train: {builtin: {}}
validate: {require: none}
deploy: {endpoint: bench}
"""


def lint(serin, file, repeats):
    """The rows of the table for `serin lint`, first those of `serin profile`."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        folder = pathlib.Path(folder)
        (folder / "serin.yaml").write_text(CONFIG)
        (folder / "table.csv").hardlink_to(file)
        measure(
            folder / "table.csv",
            {"serin profile": [serin, "profile"], "serin lint": ["sh", "-c", f"cd {folder} && exec {serin} lint"]},
            repeats,
        )


def once(command):
    """Seconds, seconds of the processors, and the highest memory in MB of one process."""
    environment = os.environ | {"POLARS_MAX_THREADS": "2"}
    with open(os.devnull, "w") as nowhere:
        start = time.perf_counter()
        # In the child only: this process keeps its cores.
        child = subprocess.Popen(
            [str(part) for part in command],
            stdout=nowhere,
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, CORES),
        )
        complaint = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command[0]} failed: {complaint.decode(errors='replace')}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def measure(file, commands, repeats):
    """The rows of the table for one file."""
    once(["cat", file])
    # Round after round, so that a slow minute of the machine hits all.
    runs = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(once([*command, file]))
    ours = None
    for name, figures in runs.items():
        seconds, processors, memory = zip(*figures)
        seconds, processors = statistics.median(seconds), statistics.median(processors)
        ours = ours or seconds
        row = [file.name, name, f"{seconds:.3f}", f"{processors:.3f}", f"{max(memory):.0f}", f"{seconds / ours:.2f}"]
        print("|", " | ".join(row), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    tables = ["main", "wide", "tiny", "lint"]
    parser.add_argument("--only", nargs="*", choices=tables, default=tables)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--serin", type=pathlib.Path, default=HERE.parent.parent / "target" / "release" / "serin")
    given = parser.parse_args()
    if not given.serin.exists():
        sys.exit(f"{given.serin} is not there: run `cargo build --release`, or name the binary with --serin")
    FOLDER.mkdir(parents=True, exist_ok=True)
    interpreter = python()
    data = FOLDER / "data"
    subprocess.run([interpreter, HERE / "generate.py", data, "--rows", str(given.rows)], check=True)
    print("| file | what | seconds | of processors | MB | times serin |\n|---|---|---|---|---|---|", flush=True)
    for table in given.only:
        if table == "lint":
            lint(given.serin, data / f"main-{given.rows}.csv", given.repeats)
            continue
        table = f"main-{given.rows}" if table == "main" else table
        for file in [data / f"{table}.csv", data / f"{table}.parquet"]:
            commands = {
                "serin": [given.serin, "profile"],
                "DuckDB": [interpreter, HERE / "duckdb_figures.py"],
                "Polars": [interpreter, HERE / "polars_figures.py"],
                "floor: cat": ["cat"],
            }
            if file.suffix == ".parquet":
                commands["floor: decode"] = [interpreter, HERE / "decode.py"]
            if given.alone:
                commands = {name: commands[name] for name in ["serin", "floor: cat"]}
            measure(file, commands, given.repeats)


if __name__ == "__main__":
    main()
