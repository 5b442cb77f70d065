"""Calls of Google's discovery client (google-api-python-client): each method's path and parameters are the ones in its documents.

No variable gives it an address; where the emulator is says the environment of `serin emulate env`.
"""

import io
import json
import os
import time

from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

from calls import call, refused, run

URL, PROJECT = os.environ["STORAGE_EMULATOR_HOST"], os.environ["GOOGLE_CLOUD_PROJECT"]
PARENT, BUCKET = f"projects/{PROJECT}/locations/us-central1", "discovery-calls"
SERIN = f"us-central1-docker.pkg.dev/{PROJECT}/serin/serin:v1"


def service(name, version):
    """The client takes the address of uploads and batches from the document only, so that is where it is changed."""
    document = json.loads(get_static_doc(name, version))
    document["rootUrl"] = f"{URL}/"
    return build_from_document(document, credentials=AnonymousCredentials())


storage = service("storage", "v1")
vertex = service("aiplatform", "v1").projects().locations()
cloudbuild = service("cloudbuild", "v1")
logging, monitoring = service("logging", "v2"), service("monitoring", "v3")
kept = {}


def wait(read, done, seconds=50):
    """Reads until it is done."""
    end = time.monotonic() + seconds
    while not done(one := read().execute()):
        assert time.monotonic() < end, one
        time.sleep(0.2)
    return one


@call
def storage_buckets_insert():
    storage.buckets().insert(project=PROJECT, body={"name": BUCKET}).execute()


@call
def storage_buckets_list():
    assert BUCKET in [one["name"] for one in storage.buckets().list(project=PROJECT).execute()["items"]]


@call
def storage_objects_insert_multipart():
    media = MediaIoBaseUpload(io.BytesIO(b"one"), "text/plain")
    body = {"name": "a.txt", "metadata": {"k": "v"}}
    made = storage.objects().insert(bucket=BUCKET, body=body, media_body=media).execute()
    assert made["size"] == "3" and made["metadata"] == {"k": "v"}, made


@call
def storage_objects_insert_resumable():
    media = MediaIoBaseUpload(io.BytesIO(b"x" * 600_000), "text/plain", chunksize=1 << 18, resumable=True)
    request = storage.objects().insert(bucket=BUCKET, name="large.txt", media_body=media)
    reply = None
    while reply is None:
        _, reply = request.next_chunk()
    assert reply["size"] == "600000", reply


@call
def storage_objects_get_media():
    assert storage.objects().get_media(bucket=BUCKET, object="a.txt").execute() == b"one"


@call
def storage_objects_get_in_chunks():
    got = io.BytesIO()
    request = storage.objects().get_media(bucket=BUCKET, object="large.txt")
    download, done = MediaIoBaseDownload(got, request, chunksize=200_000), False
    while not done:
        _, done = download.next_chunk()
    assert len(got.getvalue()) == 600_000


@call
def storage_objects_list_fields():
    reply = storage.objects().list(bucket=BUCKET, fields="items(name)").execute()
    assert reply == {"items": [{"name": "a.txt"}, {"name": "large.txt"}]}, reply


@call
def storage_objects_patch():
    made = storage.objects().patch(bucket=BUCKET, object="a.txt", body={"contentType": "text/csv"}).execute()
    assert made["contentType"] == "text/csv" and made["metageneration"] == "2", made


@call
def storage_objects_copy_and_rewrite():
    storage.objects().copy(
        sourceBucket=BUCKET, sourceObject="a.txt", destinationBucket=BUCKET, destinationObject="b.txt", body={}
    ).execute()
    made = storage.objects().rewrite(
        sourceBucket=BUCKET, sourceObject="a.txt", destinationBucket=BUCKET, destinationObject="c.txt", body={}
    ).execute()
    assert made["done"], made


@call
def storage_objects_compose():
    body = {"sourceObjects": [{"name": "a.txt"}, {"name": "b.txt"}]}
    made = storage.objects().compose(destinationBucket=BUCKET, destinationObject="ab.txt", body=body).execute()
    assert made["componentCount"] == 2, made


@call
def storage_objects_move():
    storage.objects().move(bucket=BUCKET, sourceObject="c.txt", destinationObject="moved.txt").execute()


@call
def storage_batch_of_deletes():
    batch = storage.new_batch_http_request()
    errors = []
    for name in ("ab.txt", "b.txt"):
        batch.add(storage.objects().delete(bucket=BUCKET, object=name), callback=lambda *a: errors.append(a[2]))
    batch.execute()
    assert errors == [None, None], errors


@call
def storage_buckets_iam():
    policy = storage.buckets().getIamPolicy(bucket=BUCKET).execute()
    storage.buckets().setIamPolicy(bucket=BUCKET, body=policy).execute()


@call
def storage_unknown_parameter_value_is_refused():
    refused(HttpError, storage.objects().list(bucket=BUCKET, maxResults=-1).execute, "400")


@call
def vertex_custom_jobs_create():
    spec = {
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": "1",
        "containerSpec": {"imageUri": SERIN, "args": ["--version"]},
    }
    body = {"displayName": "calls", "jobSpec": {"workerPoolSpecs": [spec]}}
    name = vertex.customJobs().create(parent=PARENT, body=body).execute()["name"]
    over = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED")
    job = wait(lambda: vertex.customJobs().get(name=name), lambda one: one["state"] in over)
    assert job["state"] == "JOB_STATE_SUCCEEDED", job


@call
def vertex_custom_jobs_list():
    assert vertex.customJobs().list(parent=PARENT, readMask="displayName").execute()["customJobs"] == [
        {"displayName": "calls"}
    ]


@call
def vertex_models_upload():
    container = {"imageUri": SERIN, "predictRoute": "/predict", "healthRoute": "/health"}
    body = {"modelId": "churn", "model": {"displayName": "churn", "containerSpec": container}}
    operation = vertex.models().upload(parent=PARENT, body=body).execute()
    done = wait(lambda: vertex.models().operations().get(name=operation["name"]), lambda one: one.get("done"))
    assert done["response"]["modelVersionId"] == "1", done


@call
def vertex_models_patch():
    name = f"{PARENT}/models/churn"
    made = vertex.models().patch(name=name, updateMask="labels", body={"labels": {"k": "v"}}).execute()
    assert made["labels"] == {"k": "v"}, made


@call
def vertex_endpoints_create_and_delete():
    operation = vertex.endpoints().create(parent=PARENT, endpointId="calls", body={"displayName": "calls"}).execute()
    wait(lambda: vertex.endpoints().operations().get(name=operation["name"]), lambda one: one.get("done"))
    operation = vertex.endpoints().delete(name=f"{PARENT}/endpoints/calls").execute()
    wait(lambda: vertex.endpoints().operations().get(name=operation["name"]), lambda one: one.get("done"))


@call
def vertex_pipeline_jobs_list():
    vertex.pipelineJobs().list(parent=PARENT).execute()


@call
def vertex_batch_prediction_jobs_list():
    vertex.batchPredictionJobs().list(parent=PARENT).execute()


STEP = {"name": "python:3.12", "entrypoint": "python3", "args": ["-c", "print('built', 6 * 7)"]}


@call
def cloudbuild_builds_create():
    body = {"steps": [STEP], "options": {"logging": "CLOUD_LOGGING_ONLY"}, "tags": ["calls"]}
    operation = cloudbuild.projects().builds().create(projectId=PROJECT, body=body).execute()
    done = wait(lambda: cloudbuild.operations().get(name=operation["name"]), lambda one: one.get("done"))
    assert done["response"]["status"] == "SUCCESS", done
    kept["build"] = done["response"]["id"]


@call
def cloudbuild_builds_list():
    reply = cloudbuild.projects().builds().list(projectId=PROJECT, filter='tags="calls"').execute()
    assert [one["id"] for one in reply["builds"]] == [kept["build"]], reply


@call
def cloudbuild_triggers_create_and_delete():
    triggers = cloudbuild.projects().triggers()
    made = triggers.create(projectId=PROJECT, body={"name": "calls", "build": {"steps": [STEP]}}).execute()
    triggers.delete(projectId=PROJECT, triggerId=made["id"]).execute()


@call
def cloudbuild_worker_pools_list():
    cloudbuild.projects().locations().workerPools().list(parent=PARENT).execute()


@call
def logging_entries_list():
    body = {"resourceNames": [f"projects/{PROJECT}"], "filter": f'resource.labels.build_id="{kept["build"]}"'}
    entries = logging.entries().list(body=body).execute()["entries"]
    assert any("built 42" in one.get("textPayload", "") for one in entries), entries


@call
def logging_entries_write():
    entry = {"logName": f"projects/{PROJECT}/logs/calls", "resource": {"type": "global"}, "textPayload": "hello"}
    logging.entries().write(body={"entries": [entry]}).execute()


@call
def logging_logs_list():
    assert logging.projects().logs().list(parent=f"projects/{PROJECT}").execute()["logNames"]


@call
def monitoring_descriptors_list():
    monitoring.projects().metricDescriptors().list(name=f"projects/{PROJECT}").execute()


@call
def monitoring_descriptors_create_and_get():
    kind = "custom.googleapis.com/calls"
    body = {"type": kind, "metricKind": "GAUGE", "valueType": "DOUBLE"}
    made = monitoring.projects().metricDescriptors().create(name=f"projects/{PROJECT}", body=body).execute()
    got = monitoring.projects().metricDescriptors().get(name=made["name"]).execute()
    assert got["type"] == kind, got


run()
