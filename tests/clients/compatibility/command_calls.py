"""Google's command line tools against the emulator: gcloud, gsutil and bq as they are installed, each command a test.

    command_calls.py gcloud|gsutil|bq MODEL INSTANCE

MODEL is a folder with a model of serin, INSTANCE a row for it as JSON. The environment is that of `serin emulate env`.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from calls import call, run

TOOL, MODEL, INSTANCE = sys.argv[1:]
URL, PROJECT = os.environ["STORAGE_EMULATOR_HOST"], os.environ["CLOUDSDK_CORE_PROJECT"]
REGION = "--region=us-central1"
SERIN = f"us-central1-docker.pkg.dev/{PROJECT}/serin/serin:v1"
BUCKET = f"gs://{TOOL}-calls"
kept = {}


def tool(line, more=(), ends=0, seconds=55):
    """Runs a command line; gives what it prints on both streams. `more` are words with spaces in them."""
    words = [TOOL, *line.split(), *more]
    ended = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, text=True, errors="replace"
    )
    said = ended.stdout.strip()
    if (ended.returncode == 0) != (ends == 0):
        raise AssertionError(f"exit code {ended.returncode}: {said[-500:]}")
    return said


def says(said, *parts):
    for part in parts:
        assert re.search(part, said), f"no {part!r} in: {said[-500:]}"


def data(line, more=()):
    """What a gcloud command answers, as JSON."""
    words = [TOOL, *line.split(), "--format=json", *more]
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=55, text=True)
    assert ended.returncode == 0, ended.stderr.strip()[-500:]
    return json.loads(ended.stdout)


def file(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


if TOOL == "gcloud":

    @call
    def storage_buckets_create():
        tool(f"storage buckets create {BUCKET} --location=us-central1")

    @call
    def storage_buckets_describe():
        assert data(f"storage buckets describe {BUCKET}")["location"] == "US-CENTRAL1"

    @call
    def storage_buckets_list():
        assert f"{BUCKET}/" in [one["storage_url"] for one in data("storage buckets list")]

    @call
    def storage_buckets_update():
        tool(f"storage buckets update {BUCKET} --versioning --update-labels=team=churn")
        assert data(f"storage buckets describe {BUCKET}")["versioning_enabled"]

    @call
    def storage_buckets_update_lifecycle():
        rules = {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}
        tool(f"storage buckets update {BUCKET} --lifecycle-file={file('life.json', json.dumps(rules))}")

    @call
    def storage_buckets_iam_policy():
        tool(f"storage buckets add-iam-policy-binding {BUCKET} --member=user:a@b.co --role=roles/storage.objectViewer")
        says(tool(f"storage buckets get-iam-policy {BUCKET}"), "user:a@b.co")

    @call
    def storage_cp_up():
        tool(f"storage cp {file('a.txt', 'one')} {file('b.txt', 'two')} {BUCKET}/")

    @call
    def storage_cp_folder():
        file("folder/x/1.csv", "1")
        file("folder/y/2.csv", "2")
        tool(f"storage cp -r folder {BUCKET}/")
        says(tool(f"storage ls {BUCKET}/folder/**"), "folder/x/1.csv", "folder/y/2.csv")

    @call
    def storage_cp_over_an_object():
        tool(f"storage cp {file('a.txt', 'three')} {BUCKET}/a.txt")
        assert tool(f"storage cat {BUCKET}/a.txt").endswith("three")

    @call
    def storage_cp_gzip_in_flight():
        tool(f"storage cp --gzip-in-flight-all {file('flight.txt', 'z' * 5000)} {BUCKET}/flight.txt")
        assert data(f"storage objects describe {BUCKET}/flight.txt")["size"] == 5000

    @call
    def storage_cp_gzip_local():
        tool(f"storage cp --gzip-local-all {file('local.txt', 'z' * 5000)} {BUCKET}/local.txt")
        assert data(f"storage objects describe {BUCKET}/local.txt")["content_encoding"] == "gzip"
        tool(f"storage cp {BUCKET}/local.txt unpacked.txt")
        assert Path("unpacked.txt").read_text() == "z" * 5000

    @call
    def storage_cp_composite_upload():
        Path("big.bin").write_bytes(os.urandom(3_000_000))
        for name in ("ENABLED=True", "THRESHOLD=1M", "COMPONENT_SIZE=1M"):
            key, value = name.split("=")
            os.environ[f"CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_{key}"] = value
        try:
            tool(f"storage cp big.bin {BUCKET}/big.bin")
        finally:
            for key in ("ENABLED", "THRESHOLD", "COMPONENT_SIZE"):
                del os.environ[f"CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_{key}"]
        assert data(f"storage objects describe {BUCKET}/big.bin")["size"] == 3_000_000

    @call
    def storage_cp_resumable():
        Path("large.bin").write_bytes(os.urandom(20_000_000))
        tool(f"storage cp large.bin {BUCKET}/large.bin")

    @call
    def storage_cp_down():
        tool(f"storage cp {BUCKET}/large.bin down.bin")
        assert Path("down.bin").read_bytes() == Path("large.bin").read_bytes()

    @call
    def storage_cp_between_buckets():
        tool(f"storage buckets create {BUCKET}-two")
        tool(f"storage cp {BUCKET}/a.txt {BUCKET}-two/copy.txt")
        tool(f"storage rm -r {BUCKET}-two")

    @call
    def storage_cp_no_clobber():
        says(tool(f"storage cp --no-clobber a.txt {BUCKET}/a.txt"), "[Ss]kipping")

    @call
    def storage_ls():
        says(tool(f"storage ls {BUCKET}/"), "a.txt", "folder/")
        says(tool(f"storage ls -l {BUCKET}/a.txt"), r"\b5 ", "TOTAL: 1 objects")
        says(tool(f"storage ls -a {BUCKET}/a.txt"), r"#\d+")

    @call
    def storage_ls_full():
        says(tool(f"storage ls -L {BUCKET}/a.txt"), "CRC32C", "Generation")

    @call
    def storage_du():
        says(tool(f"storage du -s {BUCKET}/folder"), r"(?m)^2 ")

    @call
    def storage_cat_range():
        assert tool(f"storage cat -r 1-2 {BUCKET}/b.txt").endswith("wo")

    @call
    def storage_hash():
        says(tool(f"storage hash {BUCKET}/a.txt"), "crc32c_hash")

    @call
    def storage_objects_compose():
        tool(f"storage objects compose {BUCKET}/a.txt {BUCKET}/b.txt {BUCKET}/ab.txt")
        assert tool(f"storage cat {BUCKET}/ab.txt").endswith("threetwo")

    @call
    def storage_objects_update():
        tool(f"storage objects update {BUCKET}/b.txt --content-type=text/csv --update-custom-metadata=k=v")
        one = data(f"storage objects describe {BUCKET}/b.txt")
        assert one["content_type"] == "text/csv" and one["custom_fields"] == {"k": "v"}, one

    @call
    def storage_objects_list():
        says(tool(f"storage objects list {BUCKET}/folder/**"), "1.csv")

    @call
    def storage_mv():
        tool(f"storage mv {BUCKET}/b.txt {BUCKET}/moved.txt")
        assert tool(f"storage cat {BUCKET}/moved.txt").endswith("two")

    @call
    def storage_rsync():
        tool(f"storage rsync -r folder {BUCKET}/mirror")
        file("folder/x/1.csv", "changed")
        tool(f"storage rsync -r --delete-unmatched-destination-objects folder {BUCKET}/mirror")
        assert tool(f"storage cat {BUCKET}/mirror/x/1.csv").endswith("changed")

    @call
    def storage_managed_folders():
        tool(f"storage buckets update {BUCKET} --uniform-bucket-level-access")
        tool(f"storage managed-folders create {BUCKET}/managed/")
        says(tool(f"storage managed-folders list {BUCKET}"), "managed/")

    @call
    def storage_rm():
        tool(f"storage rm {BUCKET}/moved.txt")
        tool(f"storage cat {BUCKET}/moved.txt", ends=1)

    @call
    def storage_rm_bucket():
        tool(f"storage rm -r {BUCKET}")

    # Vertex AI.

    @call
    def ai_custom_jobs_create():
        spec = f"--worker-pool-spec=machine-type=n1-standard-4,replica-count=1,container-image-uri={SERIN}"
        kept["job"] = data(f"ai custom-jobs create {REGION} --display-name=calls {spec} --args=--version")["name"]

    @call
    def ai_custom_jobs_create_gpu():
        spec = f"machine-type=n1-standard-4,accelerator-type=NVIDIA_TESLA_T4,accelerator-count=1,container-image-uri={SERIN}"
        tool(f"ai custom-jobs create {REGION} --display-name=gpu --worker-pool-spec={spec} --args=--version")

    @call
    def ai_custom_jobs_stream_logs():
        said = tool(f"ai custom-jobs stream-logs {kept['job']}", seconds=58)
        says(said, "serin")

    @call
    def ai_custom_jobs_describe():
        end = time.monotonic() + 50
        while (one := data(f"ai custom-jobs describe {kept['job']}"))["state"] != "JOB_STATE_SUCCEEDED":
            assert time.monotonic() < end, one

    @call
    def ai_custom_jobs_list():
        assert "calls" in [one["displayName"] for one in data(f"ai custom-jobs list {REGION} --filter=displayName=calls")]

    @call
    def ai_custom_jobs_cancel():
        spec = f"--worker-pool-spec=machine-type=n1-standard-4,container-image-uri={SERIN}"
        # The emulator's clock runs ahead: a job that only waits would be over before gcloud has started again.
        spec = spec.replace(SERIN, "python:3.12") + " --command=python3"
        name = data(f"ai custom-jobs create {REGION} --display-name=ended {spec}", ["--args=-c,import time; time.sleep(50)"])["name"]
        tool(f"ai custom-jobs cancel {name}")

    @call
    def ai_hp_tuning_jobs_list():
        tool(f"ai hp-tuning-jobs list {REGION}")

    @call
    def ai_models_upload():
        tool(f"storage buckets create {BUCKET}-model --location=us-central1")
        tool(f"storage cp -r {MODEL}/* {BUCKET}-model/model/")
        flags = "--container-args=serve --container-predict-route=/predict --container-health-route=/health"
        tool(
            f"ai models upload {REGION} --model-id=churn --display-name=churn --container-image-uri={SERIN} "
            f"--artifact-uri={BUCKET}-model/model {flags}"
        )

    @call
    def ai_models_describe():
        assert data(f"ai models describe churn {REGION}")["displayName"] == "churn"

    @call
    def ai_models_list():
        assert [one["displayName"] for one in data(f"ai models list {REGION}")] == ["churn"]

    @call
    def ai_models_list_version():
        assert len(data(f"ai models list-version churn {REGION}")) == 1

    @call
    def ai_models_copy():
        tool(f"ai models copy --source-model=projects/{PROJECT}/locations/us-central1/models/churn {REGION}")

    @call
    def ai_endpoints_create():
        tool(f"ai endpoints create {REGION} --display-name=churn --endpoint-id=churn")

    @call
    def ai_endpoints_list():
        assert [one["displayName"] for one in data(f"ai endpoints list {REGION}")] == ["churn"]

    @call
    def ai_endpoints_deploy_model():
        flags = "--machine-type=n1-standard-2 --min-replica-count=1 --max-replica-count=1 --traffic-split=0=100"
        tool(f"ai endpoints deploy-model churn {REGION} --model=churn --display-name=first {flags}")

    @call
    def ai_endpoints_describe():
        one = data(f"ai endpoints describe churn {REGION}")
        kept["deployed"] = one["deployedModels"][0]["id"]

    @call
    def ai_endpoints_predict():
        request = file("request.json", json.dumps({"instances": [json.loads(INSTANCE)]}))
        tool(f"ai endpoints predict churn {REGION} --json-request={request}")

    @call
    def ai_endpoints_raw_predict():
        request = file("request.json", json.dumps({"instances": [json.loads(INSTANCE)]}))
        tool(f"ai endpoints raw-predict churn {REGION} --request=@{request}")

    @call
    def ai_endpoints_update():
        tool(f"ai endpoints update churn {REGION} --description=calls --update-labels=team=churn")

    @call
    def ai_endpoints_undeploy_model():
        tool(f"ai endpoints undeploy-model churn {REGION} --deployed-model-id={kept['deployed']}")

    @call
    def ai_endpoints_delete():
        tool(f"ai endpoints delete churn {REGION} --quiet")

    @call
    def ai_models_delete():
        tool(f"ai models delete churn {REGION} --quiet")

    @call
    def ai_tensorboards_list():
        tool(f"ai tensorboards list {REGION}")

    # Cloud Build.

    BUILD = {"steps": [{"name": "python:3.12", "entrypoint": "python3", "args": ["-c", "print('built', 6 * 7)"]}]}

    @call
    def builds_submit_async():
        file("source/main.py", "print(1)")
        config = file("cloudbuild.json", json.dumps(BUILD))
        tool(f"builds submit source --async --config={config}")
        kept["build"] = data("builds list --limit=1")[0]["id"]
        end = time.monotonic() + 40
        while (status := data(f"builds describe {kept['build']}")["status"]) != "SUCCESS":
            assert time.monotonic() < end, status

    @call
    def builds_submit_prints_its_log():
        config = file("cloudbuild.json", json.dumps(BUILD))
        says(tool(f"builds submit source --config={config}"), "built 42", "SUCCESS")

    @call
    def builds_submit_async_in_a_region():
        config = file("logging.json", json.dumps({**BUILD, "options": {"logging": "CLOUD_LOGGING_ONLY"}}))
        kept["regional"] = data(f"builds submit --no-source --async {REGION} --config={config}")["id"]

    @call
    def builds_describe():
        assert data(f"builds describe {kept['build']}")["status"] == "SUCCESS"

    @call
    def builds_describe_in_a_region():
        assert data(f"builds describe {kept['regional']} {REGION}")["id"] == kept["regional"]

    @call
    def builds_list():
        assert kept["build"] in [one["id"] for one in data("builds list --limit=5")]

    @call
    def builds_list_filtered():
        assert data("builds list --filter=status=FAILURE") == []

    @call
    def builds_log():
        says(tool(f"builds log {kept['build']}"), "built 42")

    @call
    def builds_cancel():
        slow = {"steps": [{"name": "python:3.12", "entrypoint": "python3", "args": ["-c", "import time; time.sleep(40)"]}]}
        slow["options"] = {"logging": "CLOUD_LOGGING_ONLY"}
        config = file("slow.json", json.dumps(slow))
        one = data(f"builds submit --no-source --async --config={config}")["id"]
        tool(f"builds cancel {one}")
        assert data(f"builds describe {one}")["status"] == "CANCELLED"

    @call
    def builds_triggers_list():
        tool("builds triggers list")

    @call
    def builds_worker_pools_list():
        tool(f"builds worker-pools list {REGION}")

    # Cloud Logging, and what gcloud must not ask Google for.

    @call
    def logging_write():
        tool("logging write calls hello --severity=WARNING")

    @call
    def logging_read():
        says(tool("logging read", ["severity>=DEFAULT", "--limit=5", "--freshness=30d"]), "logName")

    @call
    def logging_read_of_a_build():
        said = tool("logging read", [f'resource.type="build" AND resource.labels.build_id="{kept["build"]}"', "--freshness=30d"])
        says(said, "built 42")

    @call
    def logging_logs_list():
        says(tool("logging logs list"), "cloudbuild")

    # The services that start builds.

    @call
    def pubsub_topics():
        tool("pubsub topics create calls-events")
        names = [one["name"] for one in data("pubsub topics list")]
        assert f"projects/{PROJECT}/topics/calls-events" in names

    @call
    def pubsub_subscriptions():
        tool("pubsub subscriptions create calls-mine --topic=calls-events --expiration-period=never")
        assert data("pubsub subscriptions describe calls-mine")["expirationPolicy"] == {}
        assert len(data("pubsub subscriptions list")) == 1

    @call
    def pubsub_publish_and_pull():
        sent = data("pubsub topics publish calls-events --message=hello --attribute=a=b")
        (got,) = data("pubsub subscriptions pull calls-mine --auto-ack")
        assert got["message"]["messageId"] == sent["messageIds"][0] and got["message"]["attributes"] == {"a": "b"}
        assert data("pubsub subscriptions pull calls-mine --auto-ack") == []

    @call
    def pubsub_policy():
        flags = "--member=serviceAccount:a@p.iam.gserviceaccount.com --role=roles/pubsub.publisher"
        says(tool(f"pubsub topics add-iam-policy-binding calls-events {flags}"), "roles/pubsub.publisher")

    @call
    def pubsub_update():
        tool("pubsub subscriptions update calls-mine --ack-deadline=60")
        assert data("pubsub subscriptions describe calls-mine")["ackDeadlineSeconds"] == 60
        tool("pubsub subscriptions modify-push-config calls-mine --push-endpoint=http://127.0.0.1:9/")

    AT = "--location=us-central1"

    @call
    def scheduler_create():
        flags = "--uri=http://127.0.0.1:9/ --oidc-service-account-email=a@p.iam.gserviceaccount.com --message-body=hi"
        tool(f"scheduler jobs create http calls {AT} {flags} --time-zone=America/Bogota", ["--schedule=0 3 * * 1"])

    @call
    def scheduler_list():
        (job,) = data(f"scheduler jobs list {AT}")
        assert (job["schedule"], job["timeZone"], job["state"]) == ("0 3 * * 1", "America/Bogota", "ENABLED")

    @call
    def scheduler_update():
        tool(f"scheduler jobs update http calls {AT}", ["--schedule=0 4 * * 1"])
        assert data(f"scheduler jobs describe calls {AT}")["timeZone"] == "America/Bogota"

    @call
    def scheduler_pause_resume_run_delete():
        for verb in ["pause", "resume", "run", "delete --quiet"]:
            verb, *flags = verb.split()
            tool(f"scheduler jobs {verb} calls {AT}", flags)

    @call
    def storage_notifications():
        tool(f"storage buckets create {BUCKET}-events --location=us-central1")
        tool(f"storage buckets notifications create {BUCKET}-events --topic=calls-events")
        says(tool(f"storage buckets notifications list {BUCKET}-events"), "topics/calls-events")

    @call
    def eventarc_create():
        flags = "--destination-run-service=calls --destination-run-region=us-central1 --service-account=a@p.iam.gserviceaccount.com"
        event = f"--event-filters=type=google.cloud.storage.object.v1.finalized --event-filters=bucket={BUCKET[5:]}-events"
        tool(f"eventarc triggers create calls {AT} {flags} {event}")

    @call
    def eventarc_list():
        (one,) = data(f"eventarc triggers list {AT}")
        assert one["destination"]["cloudRun"]["service"] == "calls"

    @call
    def eventarc_update_and_delete():
        tool(f"eventarc triggers update calls {AT} --destination-run-path=/events")
        tool(f"eventarc triggers delete calls {AT}")

    @call
    def source_repos():
        tool("source repos create calls")
        assert data("source repos list")[0]["name"] == f"projects/{PROJECT}/repos/calls"
        says(tool("source repos update calls --add-topic=calls-events", ends=1), "emulator")

    @call
    def builds_triggers_create_list_delete():
        flags = "--name=calls --repo=calls --branch-pattern=^main$ --build-config=cloudbuild.yaml"
        tool(f"builds triggers create cloud-source-repositories {flags}")
        assert "calls" in [one["name"] for one in data("builds triggers list")]
        tool("builds triggers delete calls")

    def not_emulated(line):
        """Refused at once, in words that name what refuses."""
        began = time.monotonic()
        said = tool(line, ends=1)
        seconds = time.monotonic() - began
        says(said, "emulator")
        assert seconds < 15, f"refused after {seconds:.0f} s"

    REFUSED = {
        "artifacts": "artifacts repositories list --location=us-central1",
        "secrets": "secrets list",
        "iam": "iam service-accounts list",
        "projects": "projects describe some-project",
        "services": "services list",
        "run": "run services list --region=us-central1",
        "functions": "functions list",
    }
    for name, line in REFUSED.items():

        def one(line=line):
            not_emulated(line)

        one.__name__ = f"{name}_is_refused_by_the_emulator"
        call(one)

elif TOOL == "gsutil":

    # Beside `mb`, so that its failure is not that of all others.
    body = json.dumps({"name": f"{TOOL}-calls", "location": "US-CENTRAL1"}).encode()
    made = urllib.request.Request(
        f"{URL}/storage/v1/b?project={PROJECT}", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(made, timeout=20).close()

    @call
    def mb():
        tool(f"mb -l us-central1 {BUCKET}-made")

    @call
    def ls_buckets():
        says(tool("ls"), BUCKET)

    @call
    def cp_up():
        tool(f"cp {file('a.txt', 'one')} {file('b.txt', 'two')} {BUCKET}")

    @call
    def cp_many():
        file("folder/x/1.csv", "1")
        file("folder/y/2.csv", "2")
        tool(f"-m cp -r folder {BUCKET}")

    @call
    def cp_large():
        Path("large.bin").write_bytes(os.urandom(20_000_000))
        tool(f"cp large.bin {BUCKET}/large.bin")

    @call
    def cp_down():
        tool(f"cp {BUCKET}/a.txt down.txt")
        assert Path("down.txt").read_text() == "one"

    @call
    def cp_between():
        tool(f"cp {BUCKET}/a.txt {BUCKET}/copy.txt")

    @call
    def cat():
        assert tool(f"cat {BUCKET}/a.txt").endswith("one")

    @call
    def ls():
        says(tool(f"ls {BUCKET}"), "a.txt", "folder/")

    @call
    def ls_long():
        says(tool(f"ls -l {BUCKET}/a.txt"), "TOTAL: 1 objects")

    @call
    def ls_full():
        says(tool(f"ls -L {BUCKET}/a.txt"), "Hash")

    @call
    def ls_versions():
        says(tool(f"ls -a {BUCKET}/a.txt"), r"#\d+")

    @call
    def stat():
        says(tool(f"stat {BUCKET}/a.txt"), "Generation")

    @call
    def du():
        says(tool(f"du -s {BUCKET}/folder"), r"(?m)^2 ")

    @call
    def compose():
        tool(f"compose {BUCKET}/a.txt {BUCKET}/b.txt {BUCKET}/ab.txt")
        assert tool(f"cat {BUCKET}/ab.txt").endswith("onetwo")

    @call
    def setmeta():
        tool(f"setmeta -h Content-Type:text/csv {BUCKET}/a.txt")

    @call
    def rewrite():
        tool(f"rewrite -s nearline {BUCKET}/a.txt")

    @call
    def acl_get():
        tool(f"acl get {BUCKET}/a.txt")

    @call
    def iam_get():
        tool(f"iam get {BUCKET}")

    @call
    def versioning():
        tool(f"versioning set on {BUCKET}")
        says(tool(f"versioning get {BUCKET}"), "Enabled")

    @call
    def lifecycle():
        rules = {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}
        tool(f"lifecycle set {file('life.json', json.dumps(rules))} {BUCKET}")
        says(tool(f"lifecycle get {BUCKET}"), "Delete")

    @call
    def hash():
        tool(f"hash {BUCKET}/a.txt")

    @call
    def mv():
        tool(f"mv {BUCKET}/copy.txt {BUCKET}/moved.txt")

    @call
    def rsync():
        tool(f"rsync -r folder {BUCKET}/mirror")

    @call
    def rm():
        tool(f"rm {BUCKET}/moved.txt")

    @call
    def rm_recursive():
        tool(f"rm -r {BUCKET}/folder")

    @call
    def rm_bucket():
        tool(f"rm -r {BUCKET}")

else:

    @call
    def ls_is_refused():
        says(tool("ls", ends=1), "emulat")

    @call
    def query_is_refused():
        says(tool("query --nouse_legacy_sql", ["select 1"], ends=1), "emulat")

    @call
    def version():
        says(tool("version"), "BigQuery CLI")


run()
