"""Typical calls of Google's Vertex AI client for Python (google-cloud-aiplatform), as its own samples make them.

    aiplatform_calls.py MODEL INSTANCE

MODEL is a folder with a model of serin, INSTANCE a row for it as JSON. Where the emulator is says the environment of
`serin emulate env`; what no variable reaches is set as its comments say.
"""

import json
import os
import sys
from pathlib import Path

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1, storage
from google.cloud.aiplatform import hyperparameter_tuning as hpt

from calls import call, refused, run

URL = os.environ["STORAGE_EMULATOR_HOST"]
PROJECT, LOCATION, BUCKET = os.environ["GOOGLE_CLOUD_PROJECT"], "us-central1", "aiplatform-calls"
PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
SERIN = f"{LOCATION}-docker.pkg.dev/{PROJECT}/serin/serin:v1"
SKLEARN = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-3:latest"
TRAINER = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-0:latest"
INSTANCE = json.loads(sys.argv[2])
OPTIONS = dict(machine_type="n1-standard-2", min_replica_count=1, max_replica_count=1)
CONTAINER = dict(
    serving_container_image_uri=SERIN,
    serving_container_args=["serve"],
    serving_container_predict_route="/predict",
    serving_container_health_route="/health",
)

bucket = storage.Client().create_bucket(BUCKET, location=LOCATION)
for file in Path(sys.argv[1]).iterdir():
    bucket.blob(f"model/{file.name}").upload_from_filename(file)
bucket.blob("rows.jsonl").upload_from_string(json.dumps(INSTANCE) + "\n")
ARTIFACT = f"gs://{BUCKET}/model"

aiplatform.init(
    project=PROJECT,
    location=LOCATION,
    staging_bucket=f"gs://{BUCKET}",
    api_endpoint=URL,
    api_transport="rest",
    credentials=AnonymousCredentials(),
)
# The client looks every five seconds whether a job is done.
for module in (aiplatform.jobs, aiplatform.training_jobs, aiplatform.pipeline_jobs):
    module._JOB_WAIT_TIME = 0.5
kept = {}


def gapic(client):
    """A client of one service, as the SDK's users make it for what the SDK has no method for."""
    options = {"api_endpoint": URL}
    return client(client_options=options, transport="rest", credentials=AnonymousCredentials())


def pool(machine=None, **container):
    container = {"image_uri": SERIN, "args": ["--version"], **container}
    machine = machine or {"machine_type": "n1-standard-4"}
    return [{"machine_spec": machine, "replica_count": 1, "container_spec": container}]


def job(name, specs=None, **options):
    return aiplatform.CustomJob(display_name=name, worker_pool_specs=specs or pool(), **options)


# Custom jobs.


@call
def custom_job_run():
    kept["job"] = job("plain", labels={"team": "churn"})
    kept["job"].run()
    assert kept["job"].state.name == "JOB_STATE_SUCCEEDED"


@call
def custom_job_fails():
    refused(RuntimeError, job("bad", pool(args=["no-such-command"])).run)


@call
def custom_job_submit_and_wait():
    submitted = job("submitted")
    submitted.submit()
    submitted.wait_for_resource_creation()
    submitted.wait_for_completion()
    assert submitted.end_time >= submitted.start_time


@call
def custom_job_gpu():
    gpu = {
        "machine_type": "n1-standard-4",
        "accelerator_type": "NVIDIA_TESLA_T4",
        "accelerator_count": 1,
    }
    one = job("gpu", pool(gpu))
    one.run()
    spec = one.job_spec.worker_pool_specs[0].machine_spec
    assert spec.accelerator_type.name == "NVIDIA_TESLA_T4", spec


@call
def custom_job_spot_with_timeout():
    one = job("spot")
    one.run(
        timeout=3600,
        restart_job_on_worker_restart=True,
        scheduling_strategy=aiplatform.compat.types.custom_job.Scheduling.Strategy.SPOT,
        max_wait_duration=1800,
    )
    assert one.job_spec.scheduling.strategy.name == "SPOT", one.job_spec


@call
def custom_job_service_account():
    one = job("account")
    one.run(service_account=f"trainer@{PROJECT}.iam.gserviceaccount.com")
    assert one.job_spec.service_account.startswith("trainer@")


@call
def custom_job_environment_and_disk():
    specs = pool(env=[{"name": "MODE", "value": "fast"}])
    specs[0]["disk_spec"] = {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 200}
    one = job("disk", specs, base_output_dir=f"gs://{BUCKET}/out")
    one.run()
    assert one.job_spec.worker_pool_specs[0].disk_spec.boot_disk_size_gb == 200


@call
def custom_job_two_pools():
    one = job("pools", pool() + pool())
    one.run()
    assert len(one.job_spec.worker_pool_specs) == 2


@call
def custom_job_network():
    one = job("network")
    one.run(network=f"projects/123456789/global/networks/shared")
    assert one.network.endswith("/shared")


@call
def custom_job_encrypted():
    key = f"{PARENT}/keyRings/ring/cryptoKeys/key"
    one = job("encrypted", encryption_spec_key_name=key)
    one.run()
    assert one._gca_resource.encryption_spec.kms_key_name == key


@call
def custom_job_list_by_label():
    found = aiplatform.CustomJob.list(filter='labels.team="churn"')
    assert [one.display_name for one in found] == ["plain"]


@call
def custom_job_list_by_state_newest_first():
    found = aiplatform.CustomJob.list(filter="state=JOB_STATE_SUCCEEDED", order_by="create_time desc")
    times = [one.create_time for one in found]
    assert times and times == sorted(times, reverse=True)


@call
def custom_job_get():
    assert aiplatform.CustomJob.get(kept["job"].resource_name).display_name == "plain"


@call
def custom_job_cancel():
    one = job("cancelled")
    one.submit()
    one.cancel()
    refused(RuntimeError, one.wait_for_completion)
    assert one.state.name == "JOB_STATE_CANCELLED", one.state


@call
def custom_job_delete():
    kept["job"].delete()
    refused(exceptions.NotFound, lambda: aiplatform.CustomJob.get(kept["job"].resource_name))


@call
def custom_job_from_local_script():
    script = Path("task.py")
    script.write_text("print('trained')\n")
    aiplatform.CustomJob.from_local_script(
        display_name="script", script_path=str(script), container_uri=TRAINER
    ).run()


@call
def custom_job_of_an_image_of_ones_own():
    job("own", pool(image_uri="python:3.12", command=["python3"], args=["-c", "print(1)"])).run()


@call
def custom_job_unknown_machine_is_refused():
    refused(exceptions.BadRequest, job("machine", pool({"machine_type": "n1-standrad-4"})).run)


@call
def custom_job_half_an_accelerator_is_refused():
    machine = {"machine_type": "n1-standard-4", "accelerator_type": "NVIDIA_TESLA_T4"}
    refused(exceptions.BadRequest, job("half", pool(machine)).run)


@call
def job_service_client_pages():
    client = gapic(aiplatform_v1.JobServiceClient)
    request = {"parent": PARENT, "page_size": 2}
    assert len(list(client.list_custom_jobs(request=request))) > 2


@call
def job_service_client_creates_in_v1beta1():
    client = gapic(aiplatform_v1beta1.JobServiceClient)
    custom_job = {"display_name": "beta", "job_spec": {"worker_pool_specs": pool()}}
    made = client.create_custom_job(parent=PARENT, custom_job=custom_job)
    assert made.state.name in ("JOB_STATE_QUEUED", "JOB_STATE_PENDING"), made.state


# What other trainings are made with.


@call
def hyperparameter_tuning_job():
    aiplatform.HyperparameterTuningJob(
        display_name="tuning",
        custom_job=job("trial"),
        metric_spec={"auc": "maximize"},
        parameter_spec={"eta": hpt.DoubleParameterSpec(min=0.01, max=0.3, scale="log")},
        max_trial_count=2,
        parallel_trial_count=1,
    ).run()


@call
def hyperparameter_tuning_job_list():
    aiplatform.HyperparameterTuningJob.list()


@call
def custom_container_training_job():
    training = aiplatform.CustomContainerTrainingJob(
        display_name="container", container_uri=SERIN, command=["serin", "--version"]
    )
    training.run(machine_type="n1-standard-4", replica_count=1)


@call
def custom_training_job_of_a_script():
    Path("task.py").write_text("print('trained')\n")
    training = aiplatform.CustomTrainingJob(
        display_name="script", script_path="task.py", container_uri=TRAINER
    )
    training.run(machine_type="n1-standard-4", replica_count=1)


@call
def custom_python_package_training_job():
    training = aiplatform.CustomPythonPackageTrainingJob(
        display_name="package",
        python_package_gcs_uri=f"gs://{BUCKET}/trainer-0.1.tar.gz",
        python_module_name="trainer.task",
        container_uri=TRAINER,
    )
    training.run(machine_type="n1-standard-4", replica_count=1)


@call
def training_pipeline_list():
    aiplatform.CustomContainerTrainingJob.list()


@call
def pipeline_job():
    template = {
        "pipelineInfo": {"name": "hello"},
        "root": {"dag": {"tasks": {}}},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.0.0",
        "deploymentSpec": {"executors": {}},
        "components": {},
    }
    Path("pipeline.json").write_text(json.dumps(template))
    aiplatform.PipelineJob(
        display_name="hello", template_path="pipeline.json", pipeline_root=f"gs://{BUCKET}/root"
    ).submit()


@call
def pipeline_job_list():
    aiplatform.PipelineJob.list()


# The model registry.


@call
def model_upload():
    kept["model"] = aiplatform.Model.upload(
        model_id="churn",
        display_name="churn",
        artifact_uri=ARTIFACT,
        labels={"digest": "a" * 63},
        version_aliases=["champion"],
        version_description="the first one",
        **CONTAINER,
    )
    assert kept["model"].version_id == "1"


@call
def model_upload_of_a_version():
    second = aiplatform.Model.upload(
        parent_model=kept["model"].resource_name,
        is_default_version=False,
        display_name="churn",
        artifact_uri=ARTIFACT,
        version_aliases=["challenger"],
        **CONTAINER,
    )
    assert second.version_id == "2"


@call
def model_upload_with_prebuilt_container():
    model = aiplatform.Model.upload(
        display_name="sklearn",
        artifact_uri=ARTIFACT,
        serving_container_image_uri=SKLEARN,
        serving_container_environment_variables={"MODE": "fast"},
        serving_container_ports=[8080],
    )
    spec = model.container_spec
    assert spec.image_uri == SKLEARN and spec.ports[0].container_port == 8080, spec
    kept["sklearn"] = model


@call
def model_upload_with_explanations():
    parameters = aiplatform.explain.ExplanationParameters({"sampled_shapley_attribution": {"path_count": 10}})
    metadata = aiplatform.explain.ExplanationMetadata(
        inputs={"features": {}}, outputs={"scores": {}}
    )
    aiplatform.Model.upload(
        display_name="explained",
        artifact_uri=ARTIFACT,
        explanation_parameters=parameters,
        explanation_metadata=metadata,
        **CONTAINER,
    )


@call
def model_upload_of_an_xgboost_file():
    Path("model.bst").write_bytes(b"binf")
    aiplatform.Model.upload_xgboost_model_file(model_file_path="model.bst", display_name="boosted")


@call
def model_get_by_alias():
    assert aiplatform.Model("churn@challenger").version_id == "2"


@call
def model_list_by_name():
    assert [m.name for m in aiplatform.Model.list(filter='display_name="churn"')] == ["churn"]


@call
def model_list_by_label():
    assert [m.name for m in aiplatform.Model.list(filter="labels.digest:*")] == ["churn"]


@call
def model_update():
    aiplatform.Model("churn").update(description="calls", labels={"stage": "canary"})
    again = aiplatform.Model("churn")
    assert again.description == "calls" and again.labels["stage"] == "canary"


@call
def model_versions():
    registry = kept["model"].versioning_registry
    assert {version.version_id for version in registry.list_versions()} == {"1", "2"}


@call
def model_versions_filtered():
    client = gapic(aiplatform_v1.ModelServiceClient)
    request = {"name": kept["model"].resource_name, "filter": "labels.stage=canary"}
    assert {version.version_id for version in client.list_model_versions(request=request)} == {"1", "2"}


@call
def model_aliases():
    registry = kept["model"].versioning_registry
    registry.add_version_aliases(["champion"], "2")
    assert registry.get_version_info("champion").version_id == "2"
    registry.remove_version_aliases(["challenger"], "2")
    refused(exceptions.NotFound, lambda: registry.get_version_info("challenger"))


@call
def model_version_update():
    registry = kept["model"].versioning_registry
    registry.update_version("2", version_description="the second")
    assert registry.get_version_info("2").version_description == "the second"


@call
def model_copy():
    kept["model"].copy(destination_location=LOCATION, destination_model_id="copied")
    assert aiplatform.Model("copied").display_name == "churn"


@call
def model_export():
    kept["model"].export_model(
        export_format_id="custom-trained", artifact_destination=f"gs://{BUCKET}/exported"
    )


@call
def model_evaluation_import_and_list():
    client = gapic(aiplatform_v1.ModelServiceClient)
    schema = "gs://google-cloud-aiplatform/schema/modelevaluation/classification_metrics_1.0.0.yaml"
    evaluation = {"display_name": "rows", "metrics_schema_uri": schema, "metrics": {"auRoc": 0.9}}
    client.import_model_evaluation(
        parent=f"{kept['model'].resource_name}@1", model_evaluation=evaluation
    )
    listed = aiplatform.Model("churn@1").list_model_evaluations()
    assert [dict(one.metrics) for one in listed] == [{"auRoc": 0.9}]


@call
def model_evaluation_get():
    assert aiplatform.Model("churn@1").get_model_evaluation().metrics["auRoc"] == 0.9


# Endpoints and predictions.


@call
def endpoint_create():
    kept["endpoint"] = aiplatform.Endpoint.create(
        display_name="churn", endpoint_id="churn-calls", labels={"team": "churn"}
    )
    refused(
        exceptions.Conflict,
        lambda: aiplatform.Endpoint.create(display_name="churn", endpoint_id="churn-calls"),
    )


@call
def endpoint_create_with_request_logging():
    endpoint = aiplatform.Endpoint.create(
        display_name="logged",
        enable_request_response_logging=True,
        request_response_logging_sampling_rate=1.0,
        request_response_logging_bq_destination_table=f"bq://{PROJECT}.logs.requests",
    )
    config = endpoint._gca_resource.predict_request_response_logging_config
    assert config.enabled and config.sampling_rate == 1.0, config


@call
def endpoint_create_dedicated():
    endpoint = aiplatform.Endpoint.create(display_name="dedicated", dedicated_endpoint_enabled=True)
    assert endpoint.dedicated_endpoint_enabled and endpoint.dedicated_endpoint_dns


@call
def endpoint_list_by_name():
    found = aiplatform.Endpoint.list(filter='display_name="churn"', order_by="create_time desc")
    assert [one.name for one in found] == ["churn-calls"]


@call
def endpoint_update():
    kept["endpoint"].update(display_name="churn", description="calls", labels={"team": "ml"})
    assert aiplatform.Endpoint("churn-calls").gca_resource.description == "calls"


@call
def endpoint_deploy():
    kept["endpoint"].deploy(
        aiplatform.Model("churn@1"),
        deployed_model_display_name="first",
        traffic_percentage=100,
        **OPTIONS,
    )
    assert [one.display_name for one in kept["endpoint"].list_models()] == ["first"]


@call
def endpoint_deploy_a_canary():
    kept["endpoint"].deploy(aiplatform.Model("churn@2"), traffic_percentage=20, **OPTIONS)
    assert sorted(kept["endpoint"].traffic_split.values()) == [20, 80]


@call
def endpoint_predict():
    answer = kept["endpoint"].predict([INSTANCE])
    assert len(answer.predictions) == 1 and answer.deployed_model_id


@call
def endpoint_predict_follows_the_split():
    versions = [kept["endpoint"].predict([INSTANCE]).model_version_id for _ in range(10)]
    assert sorted(versions) == ["1"] * 8 + ["2"] * 2, versions


@call
def endpoint_raw_predict():
    body = json.dumps({"instances": [INSTANCE]})
    headers = {"Content-Type": "application/json"}
    answer = kept["endpoint"].raw_predict(body=body, headers=headers)
    assert answer.status_code == 200, answer.text


@call
def prediction_service_client():
    client = gapic(aiplatform_v1.PredictionServiceClient)
    answer = client.predict(endpoint=kept["endpoint"].resource_name, instances=[INSTANCE])
    assert len(answer.predictions) == 1


@call
def endpoint_explain():
    kept["endpoint"].explain([INSTANCE])


@call
def endpoint_traffic_split():
    ids = {one.model_version_id: one.id for one in kept["endpoint"].list_models()}
    kept["endpoint"].update(traffic_split={ids["2"]: 100, ids["1"]: 0})
    assert kept["endpoint"].traffic_split[ids["2"]] == 100


@call
def endpoint_undeploy():
    ids = {one.model_version_id: one.id for one in kept["endpoint"].list_models()}
    kept["endpoint"].undeploy(ids["1"])
    assert [one.model_version_id for one in kept["endpoint"].list_models()] == ["2"]


@call
def endpoint_deploy_without_a_machine():
    endpoint = aiplatform.Endpoint.create(display_name="default")
    endpoint.deploy(aiplatform.Model("churn@1"))
    machine = endpoint.list_models()[0].dedicated_resources.machine_spec
    assert machine.machine_type == "n1-standard-2", machine
    endpoint.delete(force=True)


@call
def endpoint_deploy_with_autoscaling_and_gpu():
    endpoint = aiplatform.Endpoint.create(display_name="scaled")
    endpoint.deploy(
        aiplatform.Model("churn@1"),
        machine_type="n1-standard-4",
        accelerator_type="NVIDIA_TESLA_T4",
        accelerator_count=1,
        min_replica_count=1,
        max_replica_count=3,
        autoscaling_target_cpu_utilization=70,
    )
    resources = endpoint.list_models()[0].dedicated_resources
    assert resources.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4", resources
    assert resources.max_replica_count == 3, resources
    endpoint.delete(force=True)


@call
def model_deploy_makes_an_endpoint():
    endpoint = aiplatform.Model("churn@1").deploy(**OPTIONS)
    assert endpoint.predict([INSTANCE]).predictions
    endpoint.delete(force=True)


@call
def model_in_use_is_not_deleted():
    refused(exceptions.GoogleAPICallError, lambda: aiplatform.Model("churn").delete(), "deploy")


@call
def endpoint_mutate_deployed_model():
    client = gapic(aiplatform_v1.EndpointServiceClient)
    one = kept["endpoint"].list_models()[0]
    resources = {"min_replica_count": 1, "max_replica_count": 2}
    client.mutate_deployed_model(
        endpoint=kept["endpoint"].resource_name,
        deployed_model={"id": one.id, "dedicated_resources": resources},
        update_mask={"paths": ["dedicated_resources.max_replica_count"]},
    ).result(timeout=50)


@call
def endpoint_undeploy_all_and_delete():
    kept["endpoint"].undeploy_all()
    kept["endpoint"].delete()
    refused(exceptions.NotFound, lambda: aiplatform.Endpoint("churn-calls").gca_resource)


@call
def private_endpoint_create():
    aiplatform.PrivateEndpoint.create(
        display_name="private", network="projects/123456789/global/networks/shared"
    )


@call
def model_batch_predict():
    batch = kept["model"].batch_predict(
        job_display_name="batch",
        gcs_source=f"gs://{BUCKET}/rows.jsonl",
        gcs_destination_prefix=f"gs://{BUCKET}/scored",
        machine_type="n1-standard-2",
    )
    assert list(batch.iter_outputs())


@call
def batch_prediction_job_list():
    aiplatform.BatchPredictionJob.list()


@call
def model_version_delete():
    kept["model"].versioning_registry.delete_version("1")


@call
def model_delete():
    aiplatform.Model("churn").delete()
    refused(exceptions.NotFound, lambda: aiplatform.Model("churn"))


# Beside training and serving.


@call
def tabular_dataset_create():
    aiplatform.TabularDataset.create(display_name="rows", gcs_source=f"gs://{BUCKET}/rows.csv")


@call
def experiment_run():
    aiplatform.init(experiment="calls")
    with aiplatform.start_run("first"):
        aiplatform.log_params({"eta": 0.1})
        aiplatform.log_metrics({"auc": 0.9})


@call
def tensorboard_create():
    aiplatform.Tensorboard.create(display_name="calls")


@call
def pipeline_job_schedule_list():
    aiplatform.PipelineJobSchedule.list()


run()
