"""Google's own Vertex AI client (google-cloud-aiplatform, REST) against the emulator.

    vertex.py URL [ARTIFACT_URI [INSTANCE]]

ARTIFACT_URI is a model that the serving image can load; without one a placeholder is uploaded.
INSTANCE is JSON, one instance to predict.
"""

import json
import sys

import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, storage

PROJECT, LOCATION, BUCKET = "clients-project", "us-central1", "clients-vertex"
IMAGE = f"{LOCATION}-docker.pkg.dev/{PROJECT}/serin/serin:v1"

url = sys.argv[1].rstrip("/")
artifact_uri = sys.argv[2] if len(sys.argv) > 2 else None
instance = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {"a": 1}

bucket = storage.Client(
    project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
).bucket(BUCKET)
if not bucket.exists():
    bucket.create(location=LOCATION)
if artifact_uri is None:
    bucket.blob("model/model.json").upload_from_string("{}")
    artifact_uri = f"gs://{BUCKET}/model"

aiplatform.init(
    project=PROJECT,
    location=LOCATION,
    staging_bucket=f"gs://{BUCKET}",
    api_endpoint=url,
    api_transport="rest",
    credentials=AnonymousCredentials(),
)


def refused(kind, call):
    """The call must be refused with an error of this kind."""
    try:
        call()
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}")


# A custom job that ends well, and one that does not.
def job(name, args):
    return aiplatform.CustomJob(
        display_name=name,
        labels={"serin_key": name},
        worker_pool_specs=[
            {
                "machine_spec": {"machine_type": "n1-standard-4"},
                "replica_count": 1,
                "container_spec": {"image_uri": IMAGE, "args": args},
            }
        ],
    )


good = job("good", ["--version"])
good.run(timeout=3600, sync=True)
assert good.state.name == "JOB_STATE_SUCCEEDED", good.state
found = aiplatform.CustomJob.list(filter='labels.serin_key="good"')
assert good.resource_name in [one.resource_name for one in found]
refused(RuntimeError, lambda: job("bad", ["no-such-command"]).run(sync=True))
good.delete()

# A model with two versions and their aliases.
container = dict(
    serving_container_image_uri=IMAGE,
    serving_container_args=["serve"],
    serving_container_predict_route="/predict",
    serving_container_health_route="/health",
)
first = aiplatform.Model.upload(
    model_id="churn_clients",
    display_name="churn",
    artifact_uri=artifact_uri,
    labels={"digest": "a" * 63},
    version_aliases=["champion"],
    version_description="the first one",
    **container,
)
assert first.version_id == "1", first.version_id
second = aiplatform.Model.upload(
    parent_model=first.resource_name,
    is_default_version=False,
    display_name="churn",
    artifact_uri=artifact_uri,
    version_aliases=["challenger"],
    **container,
)
assert second.version_id == "2", second.version_id
registry = first.versioning_registry
assert {v.version_id for v in registry.list_versions()} == {"1", "2"}
registry.add_version_aliases(["champion"], "2")
assert registry.get_version_info("champion").version_id == "2"
registry.remove_version_aliases(["challenger"], "2")
assert registry.get_version_info("default").version_id == "1"
assert aiplatform.Model("churn_clients@champion").version_id == "2"
assert [m.name for m in aiplatform.Model.list(filter='display_name="churn"')] == ["churn_clients"]
# The client names no version when it changes labels: they are the model's, beside the versions'.
aiplatform.Model("churn_clients@2").update(labels={"stage": "canary"})
assert aiplatform.Model("churn_clients@2").labels == {"stage": "canary"}
assert aiplatform.Model("churn_clients@1").labels == {"stage": "canary", "digest": "a" * 63}

# Evaluations: the client reads them, and has no method to import one.
imported = requests.post(
    f"{url}/v1/{first.resource_name}@1/evaluations:import",
    json={
        "modelEvaluation": {
            "displayName": "on the test rows",
            "metricsSchemaUri": "gs://google-cloud-aiplatform/schema/modelevaluation/classification_metrics_1.0.0.yaml",
            "metrics": {"auRoc": 0.9},
        }
    },
)
assert imported.status_code == 200, imported.text
assert aiplatform.Model("churn_clients@1").get_model_evaluation().metrics == {"auRoc": 0.9}
assert not aiplatform.Model("churn_clients@2").list_model_evaluations()

# What is not emulated says so.
refused(
    exceptions.BadRequest,
    lambda: aiplatform.TabularDataset.create(
        display_name="table", gcs_source=f"gs://{BUCKET}/table.csv"
    ),
)

# An endpoint with a canary.
endpoint = aiplatform.Endpoint.create(display_name="churn", endpoint_id="churn-clients")
refused(
    exceptions.Conflict,
    lambda: aiplatform.Endpoint.create(display_name="churn", endpoint_id="churn-clients"),
)
listed = aiplatform.Endpoint.list(filter='display_name="churn"', order_by="display_name")
assert [one.name for one in listed] == ["churn-clients"]
options = dict(machine_type="n1-standard-2", min_replica_count=1, max_replica_count=1)
endpoint.deploy(aiplatform.Model("churn_clients@1"), traffic_percentage=100, **options)
endpoint.deploy(aiplatform.Model("churn_clients@2"), traffic_percentage=20, **options)
versions = {one.id: one.model_version_id for one in endpoint.list_models()}
shares = {versions[id]: share for id, share in endpoint.traffic_split.items()}
assert shares == {"1": 80, "2": 20}, shares
answers = [endpoint.predict([instance]) for _ in range(10)]
assert sorted(answer.model_version_id for answer in answers) == ["1"] * 8 + ["2"] * 2
assert all(len(answer.predictions) == 1 for answer in answers)
# The client's own raw_predict asks Google's host whatever the endpoint is set to.
raw = requests.post(
    f"{url}/v1/{endpoint.resource_name}:rawPredict", json={"instances": [instance]}
)
assert raw.status_code == 200, raw.text
assert raw.headers["x-vertex-ai-endpoint-id"] == "churn-clients"

# The canary takes over; the old one goes.
by_version = {version: id for id, version in versions.items()}
refused(exceptions.BadRequest, lambda: registry.delete_version("1"))
endpoint.update(traffic_split={by_version["2"]: 100, by_version["1"]: 0})
endpoint.undeploy(by_version["1"])
assert [one.model_version_id for one in endpoint.list_models()] == ["2"]
endpoint.undeploy_all()
assert not endpoint.list_models()
endpoint.delete()
registry.delete_version("1")
first.delete()
refused(exceptions.NotFound, lambda: aiplatform.Model("churn_clients"))
print("google-cloud-aiplatform", aiplatform.__version__, "is content")
