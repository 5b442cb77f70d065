//! What Google's clients send and ask for beside the plain form: numbers of enums, `v1beta1`, machines,
//! regions, and fields that are refused rather than ignored.

use serde_json::{Value, json};

use super::{Cloud, IMAGE, deploy, job};

fn on(machine: Value) -> Value {
    let mut body = job(json!(["--version"]), IMAGE);
    body["jobSpec"]["workerPoolSpecs"][0]["machineSpec"] = machine;
    body
}

#[tokio::test]
async fn enums_are_names_or_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let gpu = |kind: Value| {
        let machine =
            json!({"machineType": "n1-standard-4", "acceleratorCount": 1, "acceleratorType": kind});
        let mut body = on(machine);
        body["jobSpec"]["scheduling"] = json!({"strategy": 4});
        body
    };
    for kind in [json!(5), json!("NVIDIA_TESLA_T4")] {
        let (code, told) = cloud.call("POST", "./customJobs", gpu(kind)).await;
        assert_eq!(code, 200, "{told}");
        let spec = &told["jobSpec"];
        let machine = &spec["workerPoolSpecs"][0]["machineSpec"];
        assert_eq!(machine["acceleratorType"], "NVIDIA_TESLA_T4");
        assert_eq!(spec["scheduling"]["strategy"], "SPOT");
        let path = format!(
            "/v1/{}?%24alt=json%3Benum-encoding%3Dint",
            told["name"].as_str().unwrap()
        );
        let told = cloud.get(&path).await;
        assert!(told["state"].is_number(), "{told}");
        let spec = &told["jobSpec"];
        assert_eq!(
            spec["workerPoolSpecs"][0]["machineSpec"]["acceleratorType"],
            5
        );
        assert_eq!(spec["scheduling"]["strategy"], 4);
    }
    for kind in [json!(99), json!("NVIDIA_T4"), json!(1.5), json!(true)] {
        cloud
            .refused("POST", "./customJobs", gpu(kind), 400, "INVALID_ARGUMENT")
            .await;
    }
    cloud.running.stop().await;
}

#[tokio::test]
async fn v1beta1_answers_with_its_own_types() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    for version in ["v1", "v1beta1"] {
        let path = format!("/{version}/projects/p/locations/us-central1/endpoints");
        let done = cloud
            .operate(
                "POST",
                &path,
                json!({"displayName": "x", "labels": {"a": "b"}}),
            )
            .await;
        for part in ["metadata", "response"] {
            let kind = done[part]["@type"].as_str().unwrap();
            let start = format!("type.googleapis.com/google.cloud.aiplatform.{version}.");
            assert!(kind.starts_with(&start), "{kind}");
        }
        assert_eq!(done["response"]["labels"]["a"], "b");
        assert!(done["response"].get("etag").is_none());
    }
    cloud.running.stop().await;
}

#[tokio::test]
async fn machines_accelerators_and_regions_are_googles() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    for (machine, text) in [
        (
            json!({"machineType": "n1-standrad-4"}),
            "Machine type \"n1-standrad-4\" is not supported.",
        ),
        (
            json!({"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_TESLA_T4"}),
            "Both `accelerator_type` and `accelerator_count` should be specified or none.",
        ),
        (
            json!({"machineType": "e2-standard-4", "acceleratorType": 5, "acceleratorCount": 1}),
            "Accelerator \"NVIDIA_TESLA_T4\" is not supported for machine type \"e2-standard-4\".",
        ),
        (
            json!({"machineType": "n1-standard-4", "acceleratorType": 5, "acceleratorCount": 3}),
            "it may have 1, 2, 4.",
        ),
    ] {
        let (code, told) = cloud.call("POST", "./customJobs", on(machine)).await;
        let message = told["error"]["message"].as_str().unwrap();
        assert_eq!(
            (code, told["error"]["status"].as_str()),
            (400, Some("INVALID_ARGUMENT"))
        );
        assert!(message.contains(text), "{message}");
    }
    let there = "/v1/projects/p/locations/us-centrall1";
    for (method, path) in [
        ("POST", "customJobs"),
        ("GET", "models"),
        ("GET", "endpoints/1"),
    ] {
        let path = format!("{there}/{path}");
        cloud
            .refused(method, &path, Value::Null, 400, "INVALID_ARGUMENT")
            .await;
    }

    // What was named at the start is there.
    let next = json!({"machineType": "n9-standard-4", "acceleratorType": "NVIDIA_NEXT", "acceleratorCount": 3});
    let path = "/v1/projects/p/locations/mars-north1/customJobs";
    let (code, told) = cloud.call("POST", path, on(next.clone())).await;
    assert_eq!(code, 200, "{told}");
    assert_eq!(told["jobSpec"]["workerPoolSpecs"][0]["machineSpec"], next);

    cloud.with_model().await;
    let made = json!({"displayName": "churn"});
    cloud
        .operate("POST", "./endpoints?endpointId=churn", made)
        .await;
    let mut wrong = deploy(1, "7");
    wrong["deployedModel"]["dedicatedResources"]["machineSpec"]["machineType"] =
        "totally-wrong".into();
    let path = "./endpoints/churn:deployModel";
    cloud
        .refused("POST", path, wrong, 400, "INVALID_ARGUMENT")
        .await;
    let mut plain = deploy(1, "7");
    plain["deployedModel"]["dedicatedResources"] = json!({"minReplicaCount": 1});
    plain["deployedModel"]["fasterDeploymentConfig"] = json!({"fastTryoutEnabled": true});
    let done = cloud.operate("POST", path, plain).await;
    let told = &done["response"]["deployedModel"];
    assert_eq!(told["fasterDeploymentConfig"]["fastTryoutEnabled"], true);
    let resources = &told["dedicatedResources"];
    assert_eq!(
        resources["machineSpec"]["machineType"], "n1-standard-2",
        "{done}"
    );
    cloud.running.stop().await;
}

#[tokio::test]
async fn fields_are_told_back_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let with = |field: &str, value: Value| {
        let mut body = job(json!(["--version"]), IMAGE);
        body["jobSpec"][field] = value;
        body
    };
    let pool = |field: &str, value: Value| {
        let mut body = job(json!(["--version"]), IMAGE);
        body["jobSpec"]["workerPoolSpecs"][0][field] = value;
        body
    };
    let one = pool("replicaCount", json!(1))["jobSpec"]["workerPoolSpecs"][0].clone();
    let mut python = pool("pythonPackageSpec", json!({"pythonModule": "task"}));
    python["jobSpec"]["workerPoolSpecs"][0]
        .as_object_mut()
        .unwrap()
        .remove("containerSpec");
    for body in [
        with(
            "tensorboard",
            json!("projects/p/locations/us-central1/tensorboards/1"),
        ),
        with("persistentResourceId", json!("mine")),
        with(
            "experiment",
            json!("projects/p/locations/us-central1/metadataStores/default/contexts/x"),
        ),
        with("workerPoolSpecs", json!([one, one])),
        pool(
            "nfsMounts",
            json!([{"server": "1.2.3.4", "path": "/x", "mountPoint": "y"}]),
        ),
        python,
    ] {
        cloud
            .refused("POST", "./customJobs", body, 400, "FAILED_PRECONDITION")
            .await;
    }
    let network = with("network", json!("default"));
    cloud
        .refused("POST", "./customJobs", network, 400, "INVALID_ARGUMENT")
        .await;
    let network = with("network", json!("projects/1/global/networks/default"));
    let (_, told) = cloud.call("POST", "./customJobs", network).await;
    assert_eq!(
        told["jobSpec"]["network"],
        "projects/1/global/networks/default"
    );

    let logging = json!({"enabled": true, "samplingRate": 0.5, "bigqueryDestination": {"outputUri": "bq://p.d.t"}});
    let body = json!({"displayName": "x", "predictRequestResponseLoggingConfig": logging});
    let done = cloud
        .operate("POST", "./endpoints?endpointId=logged", body.clone())
        .await;
    assert_eq!(
        done["response"]["predictRequestResponseLoggingConfig"], logging,
        "{done}"
    );
    let mut wrong = body;
    wrong["predictRequestResponseLoggingConfig"]["samplingRate"] = 2.into();
    cloud
        .refused("POST", "./endpoints", wrong, 400, "INVALID_ARGUMENT")
        .await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn an_image_of_ones_own_is_a_program_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    for (args, state) in [
        (
            json!(["-c", "import os; assert os.environ['AIP_MODEL_DIR']"]),
            "JOB_STATE_SUCCEEDED",
        ),
        (json!(["-c", "raise SystemExit(3)"]), "JOB_STATE_FAILED"),
    ] {
        let (code, made) = cloud
            .call("POST", "./customJobs", job(args, "python:3.12"))
            .await;
        assert_eq!(code, 200, "{made}");
        let path = format!("/v1/{}", made["name"].as_str().unwrap());
        let ended = cloud.until(&path, |job| job.get("endTime").is_some()).await;
        assert_eq!(ended["state"], state, "{ended}");
    }
    cloud.running.stop().await;
}

#[tokio::test]
async fn entries_are_written_and_told_back() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let entry = |log: &str| {
        json!({"entries": [{"logName": log, "resource": {"type": "global"}, "severity": 400,
            "labels": {"a": "b"}, "jsonPayload": {"message": "hello", "n": 0}}]})
    };
    let written = entry("projects/p/logs/mine");
    let (code, told) = cloud.call("POST", "/v2/entries:write", written).await;
    assert_eq!((code, told), (200, json!({})));
    let filter = json!({"resourceNames": ["projects/p"], "filter": "severity>=WARNING AND resource.type=\"global\""});
    let (_, list) = cloud.call("POST", "/v2/entries:list", filter).await;
    let told = &list["entries"][0];
    assert_eq!(told["severity"], "WARNING", "{list}");
    assert_eq!(told["jsonPayload"], json!({"message": "hello", "n": 0}));
    assert_eq!(told["labels"], json!({"a": "b"}));
    let logs = cloud.get("/v2/projects/p/logs").await;
    assert_eq!(logs["logNames"], json!(["projects/p/logs/mine"]));
    for wrong in [
        json!({}),
        entry("mine"),
        json!({"entries": [{"logName": "projects/p/logs/x"}]}),
    ] {
        cloud
            .refused("POST", "/v2/entries:write", wrong, 400, "INVALID_ARGUMENT")
            .await;
    }
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_training_pipeline_is_a_custom_job() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let spec = job(json!(["--version"]), IMAGE)["jobSpec"].clone();
    let body = json!({"displayName": "train", "trainingTaskInputs": spec,
        "trainingTaskDefinition": "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"});
    let (code, made) = cloud
        .call("POST", "./trainingPipelines", body.clone())
        .await;
    assert_eq!(
        (code, &made["state"]),
        (200, &json!("PIPELINE_STATE_PENDING")),
        "{made}"
    );
    let path = format!("/v1/{}", made["name"].as_str().unwrap());
    let ended = cloud.until(&path, |one| one.get("endTime").is_some()).await;
    assert_eq!(ended["state"], "PIPELINE_STATE_SUCCEEDED", "{ended}");
    let backing = ended["trainingTaskMetadata"]["backingCustomJob"].as_str();
    let backing = cloud.get(&format!("/v1/{}", backing.unwrap())).await;
    assert_eq!(backing["displayName"], "train-custom-job");
    let list = cloud
        .get("./trainingPipelines?filter=display_name%3Dtrain")
        .await;
    assert_eq!(list["trainingPipelines"].as_array().unwrap().len(), 1);
    cloud.delete(&path).await;
    for (field, value) in [
        ("modelToUpload", json!({"displayName": "m"})),
        ("inputDataConfig", json!({"datasetId": "1"})),
        (
            "trainingTaskDefinition",
            json!("gs://x/automl_tabular_1.0.0.yaml"),
        ),
    ] {
        let mut body = body.clone();
        body[field] = value;
        cloud
            .refused(
                "POST",
                "./trainingPipelines",
                body,
                400,
                "FAILED_PRECONDITION",
            )
            .await;
    }
    cloud.running.stop().await;
}

#[tokio::test]
async fn pipelines_are_kept_by_name_and_fail() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let body = json!({"displayName": "hello", "pipelineSpec": {"root": {"dag": {"tasks": {}}}},
        "runtimeConfig": {"gcsOutputDirectory": "gs://artifacts/root", "failurePolicy": 2}});
    let path = "./pipelineJobs?pipelineJobId=hello-1";
    let (code, made) = cloud.call("POST", path, body.clone()).await;
    assert_eq!(
        (code, &made["state"]),
        (200, &json!("PIPELINE_STATE_PENDING")),
        "{made}"
    );
    assert_eq!(
        made["runtimeConfig"]["failurePolicy"],
        "PIPELINE_FAILURE_POLICY_FAIL_FAST"
    );
    assert_eq!(made["pipelineSpec"], body["pipelineSpec"]);
    cloud
        .refused("POST", path, body.clone(), 409, "ALREADY_EXISTS")
        .await;
    let ended = cloud
        .until("./pipelineJobs/hello-1", |job| job.get("endTime").is_some())
        .await;
    assert_eq!(ended["state"], "PIPELINE_STATE_FAILED");
    let message = ended["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("This emulator has no pipelines that run"),
        "{message}"
    );
    let list = cloud.get("./pipelineJobs?orderBy=create_time%20desc").await;
    assert_eq!(list["pipelineJobs"][0]["name"], made["name"]);
    cloud.delete("./pipelineJobs/hello-1").await;
    let nowhere = json!({"displayName": "x", "pipelineSpec": {}});
    cloud
        .refused("POST", "./pipelineJobs", nowhere, 400, "INVALID_ARGUMENT")
        .await;
    cloud.running.stop().await;
}
