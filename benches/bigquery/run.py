"""Time the whole of `serin lint` on a table in BigQuery's stand-in beside the same rows in a Parquet file.

    cargo build --release
    python3 benches/bigquery/run.py [--rows 5000000] [--serin FILE] [--python FILE] [--only bigquery local]

The table has twenty columns of every type. Prints for both: seconds, those of serin's processors, its highest memory. For
BigQuery also the queries, and the bytes that crossed serin's connections to BigQuery and to Cloud Storage, each way, which two
proxies count. --python names a Python that has bqemulator; else it is installed into target/bigquery-bench, where the data
lies too, about 1 GB.
"""

import argparse
import asyncio
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
import venv

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parent.parent / "target" / "bigquery-bench"
PACKAGES = (HERE.parent.parent / "tests" / "clients" / "bigquery.txt")
SPATIAL = "import duckdb_extensions; duckdb_extensions.import_extension('spatial')"

CONFIG = """
model: bench
bucket: gs://bench-bucket
create_bucket: true
data:
  tables: {main: {bigquery: bench.d.main, local: table.parquet}}
  staging: bench.d
  label: {column: churn}
  drop: [id]
  split: {test: 0.2, by: id, seed: 1}
train: {builtin: {}}
validate: {require: none}
deploy: {endpoint: bench}
"""

# Made by numpy from the row's number; the types are BigQuery's.
COLUMNS = {
    "id": "STRING", "churn": "STRING", "plan": "STRING", "city": "STRING", "note": "STRING",
    "active": "BOOL", "since": "DATE", "seen": "TIMESTAMP",
    "calls": "INT64", "age": "INT64", "account": "INT64",
    "minutes": "FLOAT64", "charge": "FLOAT64", "balance": "FLOAT64", "rate": "FLOAT64", "score": "FLOAT64",
    "latitude": "FLOAT64", "longitude": "FLOAT64", "sparse": "FLOAT64", "steps": "FLOAT64",
}


def python():
    """The interpreter that has the stand-in."""
    folder = FOLDER / "venv"
    found = folder / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", "-r", PACKAGES], check=True)
        subprocess.run([found, "-c", SPATIAL], check=True)
        (folder / "done").touch()
    return found


def make(rows, file):
    """Writes the table. Runs in the interpreter that has pyarrow."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    writer = None
    for start in range(0, rows, 500_000):
        n = np.arange(start, min(start + 500_000, rows))
        random = np.random.default_rng(start)
        size = len(n)
        minutes = random.gamma(3.0, 60.0, size)
        score = random.normal(0, 1, size)
        text = lambda prefix, values: pc.binary_join_element_wise(prefix, pc.cast(pa.array(values), pa.string()), "")
        sparse = np.where(n % 20 == 0, random.normal(0, 1, size), np.nan)
        columns = {
            "id": text("K", n),
            "churn": pa.array(np.where(score + minutes / 200 > 1.8, "yes", "no")),
            "plan": text("plan-", random.integers(0, 8, size)),
            "city": text("city ", random.zipf(1.3, size) % 5000),
            "note": text("a note of some length, number ", random.integers(0, 1 << 40, size)),
            "active": pa.array(n % 3 == 0),
            "since": pa.array((n % 4000 + 14000).astype("int32")).cast(pa.date32()),
            "seen": pa.array(1_600_000_000_000_000 + random.integers(0, 10**14, size)).cast(pa.timestamp("us", "UTC")),
            "calls": pa.array(random.poisson(100, size)),
            "age": pa.array(random.integers(18, 90, size)),
            "account": pa.array(n * 9 + 2**53),
            "minutes": pa.array(minutes),
            "charge": pa.array(minutes * 0.17),
            "balance": pa.array(np.round(random.normal(500, 900, size), 2)),
            "rate": pa.array(random.random(size)),
            "score": pa.array(score),
            "latitude": pa.array(random.uniform(47, 55, size)),
            "longitude": pa.array(random.uniform(6, 15, size)),
            "sparse": pa.array(sparse, mask=np.isnan(sparse)),
            "steps": pa.array(np.floor(random.exponential(40, size)) / 4),
        }
        table = pa.table({name: columns[name] for name in COLUMNS})
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    writer.close()


class Counted:
    """A proxy before a port of this machine that counts bytes each way, in a thread of its own."""

    def __init__(self, port):
        self.target, self.sent, self.received = port, 0, 0
        self.port = None
        ready = threading.Event()

        def run():
            loop = asyncio.new_event_loop()
            server = loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        ready.wait()

    async def serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)

        async def pipe(source, sink, field):
            while data := await source.read(1 << 16):
                setattr(self, field, getattr(self, field) + len(data))
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(
            pipe(reader, far_writer, "sent"), pipe(far_reader, writer, "received"), return_exceptions=True
        )


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stand_in(interpreter, buckets):
    """Starts BigQuery's stand-in; its process and port."""
    port = free_port()
    command = [interpreter.parent / "bqemulator", "start", "--rest-port", str(port), "--grpc-port", str(free_port())]
    environment = os.environ | {"BQEMU_GCS_LOCAL_ROOT": str(buckets), "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/bigquery/v2/projects/bench/datasets")
            return server, port
        except OSError:
            time.sleep(0.1)
    sys.exit("bqemulator did not start")


def load(port, buckets):
    """Loads the table by a job."""
    jobs = f"http://127.0.0.1:{port}/bigquery/v2/projects/bench"
    dataset = {"projectId": "bench", "datasetId": "d"}
    post(f"{jobs}/datasets", {"datasetReference": dataset, "location": "US"})
    fields = [{"name": name, "type": kind} for name, kind in COLUMNS.items()]
    job = post(f"{jobs}/jobs", {"configuration": {"load": {
        "destinationTable": dataset | {"tableId": "main"},
        "sourceUris": ["gs://bench-source/table.parquet"],
        "sourceFormat": "PARQUET",
        "schema": {"fields": fields},
    }}})
    while job["status"]["state"] != "DONE":
        time.sleep(1)
        job = json.load(urllib.request.urlopen(f"{jobs}/jobs/{job['jobReference']['jobId']}"))
    if "errorResult" in job["status"]:
        sys.exit(str(job["status"]))


def lint(serin, folder, source, environment):
    """Runs the step; its seconds, those of its processors, and its highest memory in MB."""
    shutil.rmtree(folder / ".serin", ignore_errors=True)
    command = [serin, "lint", "--project=bench", "--region=us-central1", f"--source={source}"]
    before = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=os.environ | environment)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - before
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        sys.exit(f"serin lint ended with {code}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--serin", type=pathlib.Path, default=HERE.parent.parent / "target" / "release" / "serin")
    parser.add_argument("--python", type=pathlib.Path)
    parser.add_argument("--only", nargs="+", choices=["bigquery", "local"], default=["bigquery", "local"])
    parser.add_argument("--make", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        return make(arguments.rows, arguments.make)
    serin = arguments.serin.resolve()
    FOLDER.mkdir(parents=True, exist_ok=True)
    interpreter = arguments.python or python()
    buckets, folder = FOLDER / "buckets", FOLDER / "project"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(buckets, ignore_errors=True)
    folder.mkdir()
    (buckets / "bench-source").mkdir(parents=True)
    file = FOLDER / f"table-{arguments.rows}.parquet"
    if not file.exists():
        subprocess.run([interpreter, __file__, "--rows", str(arguments.rows), "--make", file], check=True)
    os.link(file, buckets / "bench-source" / "table.parquet")
    os.link(file, folder / "table.parquet")
    (folder / "serin.yaml").write_text(CONFIG)
    print(f"{arguments.rows} rows, {len(COLUMNS)} columns, {file.stat().st_size / 1e6:.0f} MB of Parquet", flush=True)

    if "local" in arguments.only:
        told = lint(serin, folder, "local", {})
        print("files:    %.1f s, processors %.1f s, %.0f MB of memory" % told, flush=True)
    if "bigquery" not in arguments.only:
        return
    server, port = stand_in(interpreter, buckets)
    emulator_port = free_port()
    emulator = subprocess.Popen(
        [serin, "emulate", "--port", str(emulator_port), "--watch-buckets", buckets], stdout=subprocess.DEVNULL
    )
    try:
        before = time.monotonic()
        load(port, buckets)
        print(f"loaded in {time.monotonic() - before:.0f} s", flush=True)
        bigquery, storage = Counted(port), Counted(emulator_port)
        told = lint(serin, folder, "bigquery", {
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{bigquery.port}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage.port}",
        })
        print("BigQuery: %.1f s, processors %.1f s, %.0f MB of memory" % told)
        queries = re.findall("^-- query: (.*)$", (folder / ".serin" / "queries.sql").read_text(), re.MULTILINE)
        print(f"  {len(queries)} queries, {(folder / '.serin' / 'queries.sql').stat().st_size / 1e3:.0f} kB of SQL")
        for name, counted in [("BigQuery", bigquery), ("Cloud Storage", storage)]:
            print(f"  to {name} {counted.sent / 1e6:.2f} MB, from it {counted.received / 1e6:.2f} MB")
    finally:
        for process in (server, emulator):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
