"""`serin monitor` on a day of logged requests, and `serin replay` against the emulator: seconds and memory.

    cargo build --release && python3 benches/monitor/run.py [--rows 1000000]

It makes a champion by the example's build, and a log of that many requests of its rows. Needs nothing but Python.
"""

import argparse
import csv
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta, timezone

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def instances(folder):
    """The example's rows as the endpoint takes them, with the customer."""
    tables = {}
    for name in ["account", "usage"]:
        with open(f"{folder}/data/{name}.csv") as file:
            for row in csv.DictReader(file):
                tables.setdefault(row["customer_id"], {}).update(row)
    for row in tables.values():
        row.pop("churn")
        for key, value in row.items():
            try:
                row[key] = float(value)
            except ValueError:
                pass
        yield row


def write_log(path, rows, model):
    texts = [json.dumps(json.dumps(row)) for row in instances(f"{ROOT}/cloudbuild/churn")]
    now = datetime.now(timezone.utc)
    with open(path, "w") as file:
        for n in range(rows):
            at = now - timedelta(seconds=86000 * (1 - n / rows))
            p = (n % 1000) / 1000
            answer = json.dumps(json.dumps({"label": "no", "scores": {"no": 1 - p, "yes": p}}))
            file.write(
                f'{{"endpoint":"customer-churn","deployed_model_id":"{model}",'
                f'"logging_time":"{at.strftime("%Y-%m-%d %H:%M:%S.%f")} UTC","request_id":"{n}",'
                f'"request_payload":[{texts[n % len(texts)]}],"response_payload":[{answer}]}}\n'
            )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--serin", default=f"{ROOT}/target/release/serin")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = f"{folder}/churn"
        shutil.copytree(f"{ROOT}/cloudbuild/churn", project, ignore=shutil.ignore_patterns(".serin"))
        serin = [arguments.serin]
        subprocess.run(serin + ["run", project, "--state", f"{folder}/state"], check=True, stdout=subprocess.DEVNULL)
        emulator = subprocess.Popen(
            serin + ["emulate", "--state", f"{folder}/state", "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        try:
            url = emulator.stdout.readline().split()[1]
            env = dict(os.environ, SERIN_PROJECT="local-project", SERIN_REGION="us-central1")
            env["SERIN_CONFIG"] = f"{project}/serin.yaml"
            env["STORAGE_EMULATOR_HOST"] = url
            for api in ["AIPLATFORM", "MONITORING", "LOGGING"]:
                env[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"] = url + "/"
            path = "/v1/projects/local-project/locations/us-central1/endpoints/customer-churn"
            endpoint = json.load(urllib.request.urlopen(url + path))
            model = endpoint["deployedModels"][0]["id"]
            log = f"{project}/log.jsonl"
            write_log(log, arguments.rows, model)
            print(f"log: {arguments.rows} requests, {os.path.getsize(log) / 1e6:.0f} MB", flush=True)
            with open(f"{project}/serin.yaml", "a") as file:
                file.write("\nmonitor: {requests: {local: log.jsonl}}\n")
                file.write(
                    "triggers:\n  commit: {source: csr, repo: churn, branch: ^main$}\n"
                    "  drift: {psi: 0.2}\n"
                    "  performance: {metric: roc_auc, below: 0.1, labels: {local: data/account.csv, key: customer_id}}\n"
                )
            for command in [["monitor", "--dry-run"], ["replay", "--rate", "max", "--requests", "20000", "--for", "1h"]]:
                started = time.monotonic()
                child = subprocess.Popen(serin + command, env=env, cwd=folder, stdout=subprocess.PIPE, text=True)
                most = 0
                while child.poll() is None:
                    try:
                        status = open(f"/proc/{child.pid}/status").read()
                        most = max(most, int(re.search(r"VmHWM:\s+(\d+)", status).group(1)))
                    except (OSError, AttributeError):
                        pass
                    time.sleep(0.02)
                took = time.monotonic() - started
                said = child.stdout.read()
                print(f"{' '.join(command)}: exit {child.returncode}, {took:.1f} s, {most / 1024:.0f} MB at most")
                print("\n".join("  " + line for line in said.splitlines()[:8]), flush=True)
        finally:
            emulator.terminate()
            emulator.wait()


if __name__ == "__main__":
    main()
