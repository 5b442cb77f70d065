"""Google's own discovery client (google-api-python-client) for Cloud Build against the emulator.

    cloudbuild.py URL REPOSITORY

REPOSITORY is a folder where a git repository is made; the emulator was started with
`--repository acme/shop=REPOSITORY`. The discovery documents come with the client, so that names, paths
and parameters are Google's.
"""

import base64
import io
import os
import subprocess
import sys
import tarfile
import time

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

PROJECT, BUCKET, REGION = "clients-project", "clients-builds", "us-central1"
SERIN = "us-central1-docker.pkg.dev/clients-project/serin/serin:v1"

url, repository = sys.argv[1].rstrip("/"), sys.argv[2]
service = build(
    "cloudbuild",
    "v1",
    client_options={"api_endpoint": url},
    credentials=AnonymousCredentials(),
    static_discovery=True,
    cache_discovery=False,
)
builds, triggers = service.projects().builds(), service.projects().triggers()
bucket = storage.Client(
    project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
).bucket(BUCKET)
if not bucket.exists():
    bucket.create()


def refused(code, status, part, request):
    """The request must be refused with this code, status and words; gives the error."""
    try:
        request.execute()
    except HttpError as error:
        assert error.status_code == code, error
        assert f'"status":"{status}"' in error.content.decode(), error.content
        assert part in error.reason, error.reason
        return error
    raise AssertionError(f"expected {code} {status}")


def done(operation):
    """Waits for an operation to end."""
    end = time.time() + 120
    while not operation.get("done"):
        assert time.time() < end, operation
        time.sleep(0.05)
        name = operation["name"]
        if name.startswith("operations/"):
            operation = service.operations().get(name=name).execute()
        else:
            operation = service.projects().locations().operations().get(name=name).execute()
    return operation


def archive(files):
    """A gzipped tar archive of texts, as gcloud packs a source."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


# A build of an uploaded source: from the queue to its results.
blob = bucket.blob("source/1.tgz")
blob.upload_from_string(archive({"data.csv": "id,bought\n1,yes\n2,no\n", ".gitignore": "data.csv\n"}))
source = {"storageSource": {"bucket": BUCKET, "object": blob.name, "generation": str(blob.generation)}}
init = ["init", "data.csv", "--label", "bought", "--dir", "out"]
body = {
    "source": source,
    "steps": [
        {"id": "look", "name": SERIN, "args": init},
        {"id": "again", "name": SERIN, "args": ["$_COMMAND"], "allowFailure": True},
        {"name": SERIN, "args": ["--version"], "waitFor": ["-"]},
    ],
    "substitutions": {"_COMMAND": "no-such-command"},
    "artifacts": {"objects": {"location": f"gs://{BUCKET}/out/", "paths": ["out/*.yaml"]}},
    "tags": ["clients", "first"],
    "logsBucket": f"gs://{BUCKET}",
    "timeout": "1200s",
}
operation = builds.create(projectId=PROJECT, body=body).execute()
first = operation["metadata"]["build"]
assert operation["name"] == "operations/build/%s/%s" % (
    PROJECT,
    base64.b64encode(first["id"].encode()).decode(),
)
assert first["status"] in ("QUEUED", "WORKING"), first
assert operation["metadata"]["@type"].endswith("v1.BuildOperationMetadata")
operation = done(operation)
assert operation["response"]["id"] == first["id"], operation
got = builds.get(projectId=PROJECT, id=first["id"]).execute()
assert got["status"] == "SUCCESS", got
assert got["steps"][1]["args"] == ["no-such-command"], got
assert [step["status"] for step in got["steps"]] == ["SUCCESS", "FAILURE", "SUCCESS"], got
assert got["steps"][1]["exitCode"] == 2, got
assert got["createTime"] <= got["startTime"] <= got["finishTime"], got
assert got["results"]["numArtifacts"] == "3", got
assert {"FETCHSOURCE", "BUILD", "PUSH"} <= set(got["timing"]), got
resolved = got["sourceProvenance"]["resolvedStorageSource"]
assert resolved["generation"] == str(blob.generation), got
assert bucket.blob("out/cloudbuild.yaml").exists()
log = bucket.blob(f"log-{first['id']}.txt").download_as_text()
assert log.startswith(f'starting build "{first["id"]}"\n\nFETCHSOURCE\n'), log
assert 'Finished Step #0 - "look"' in log and log.rstrip().endswith("DONE"), log

# A regional one, by the newer path; places are kept apart.
regional = service.projects().locations().builds()
parent = f"projects/{PROJECT}/locations/{REGION}"
operation = regional.create(
    parent=parent, body={"steps": [{"name": SERIN, "args": ["--version"]}], "tags": ["$LOCATION"]}
).execute()
assert operation["name"].startswith(f"{parent}/operations/"), operation
operation = done(operation)
there = operation["response"]
assert there["name"].endswith(f"/locations/{REGION}/builds/{there['id']}"), there
assert there["tags"] == [REGION], there
assert there["logsBucket"].endswith(".cloudbuild-logs.googleusercontent.com"), there
assert regional.get(name=there["name"]).execute()["status"] == "SUCCESS"
refused(404, "NOT_FOUND", "not found", builds.get(projectId=PROJECT, id=there["id"]))

# What Cloud Build would refuse at submission, and what is no build at all.
refused(
    400,
    "INVALID_ARGUMENT",
    "_MISSING",
    builds.create(projectId=PROJECT, body={"steps": [{"name": SERIN, "args": ["$_MISSING"]}]}),
)
error = refused(
    400,
    "INVALID_ARGUMENT",
    'Unknown name "colour" at \'steps[0]\'',
    builds.create(projectId=PROJECT, body={"steps": [{"name": SERIN, "colour": "red"}]}),
)
refused(400, "INVALID_ARGUMENT", "steps", builds.create(projectId=PROJECT, body={}))
two = {"storageSource": source["storageSource"], "gitSource": {"url": "x"}}
refused(
    400,
    "INVALID_ARGUMENT",
    "source",
    builds.create(projectId=PROJECT, body={"source": two, "steps": body["steps"]}),
)

# A source that is not there, and one that leads out of its folder.
outside = bucket.blob("source/outside.tgz")
outside.upload_from_string(archive({"../outside": "x"}))
for name, why in [("source/none.tgz", "No such object"), (outside.name, "leads out")]:
    operation = builds.create(
        projectId=PROJECT,
        body={
            "source": {"storageSource": {"bucket": BUCKET, "object": name}},
            "steps": [{"name": SERIN, "args": ["--version"]}],
            "tags": ["sourceless"],
        },
    ).execute()
    operation = done(operation)
    assert operation["error"]["code"] == 2, operation
    failed = operation["metadata"]["build"]
    assert failed["status"] == "FAILURE", failed
    assert failed["failureInfo"]["type"] == "FETCH_SOURCE_FAILED", failed
    assert why in failed["failureInfo"]["detail"], failed

# A build that fails by its step, and is retried.
body = {"steps": [{"name": SERIN, "args": ["no-such-command"]}], "tags": ["failing"]}
failed = done(builds.create(projectId=PROJECT, body=body).execute())["metadata"]["build"]
assert failed["failureInfo"]["type"] == "USER_BUILD_STEP", failed
assert "build step 0" in failed["statusDetail"], failed
again = done(builds.retry(projectId=PROJECT, id=failed["id"], body={}).execute())
again = again["metadata"]["build"]
assert again["id"] != failed["id"] and again["status"] == "FAILURE", again

# Cancelled while at work.
body = {"steps": [{"name": SERIN, "script": "#!/bin/sh\nsleep 3600\n"}], "timeout": "86400s"}
operation = builds.create(projectId=PROJECT, body=body).execute()
running = operation["metadata"]["build"]["id"]
end = time.time() + 60
while builds.get(projectId=PROJECT, id=running).execute()["status"] == "QUEUED":
    assert time.time() < end
    time.sleep(0.05)
cancelled = builds.cancel(projectId=PROJECT, id=running, body={}).execute()
assert cancelled["status"] == "CANCELLED", cancelled
operation = service.operations().get(name=operation["name"]).execute()
assert operation["error"]["code"] == 1, operation
refused(
    400,
    "FAILED_PRECONDITION",
    "CANCELLED",
    builds.cancel(projectId=PROJECT, id=running, body={}),
)


# Lists: newest first, by filter, page by page.
def listed(**arguments):
    request, found = builds.list(projectId=PROJECT, **arguments), []
    while request is not None:
        reply = request.execute()
        found += reply.get("builds", [])
        assert len(reply.get("builds", [])) <= arguments.get("pageSize", 100)
        request = builds.list_next(request, reply)
    return found


all_builds = listed()
times = [one["createTime"] for one in all_builds]
assert times == sorted(times, reverse=True), times
assert there["id"] not in [one["id"] for one in all_builds]
assert [one["id"] for one in listed(pageSize=2)] == [one["id"] for one in all_builds]
assert [one["id"] for one in listed(filter='tags="first"')] == [first["id"]]
assert [one["id"] for one in listed(filter='status="CANCELLED"')] == [running]
assert len(listed(filter='status="FAILURE" AND tags="sourceless"')) == 2
assert listed(filter='status="WORKING" OR status="QUEUED"') == []
refused(400, "INVALID_ARGUMENT", "colour", builds.list(projectId=PROJECT, filter="colour=red"))


# Triggers on a repository that the emulator was told of.
def git(*arguments):
    environment = dict(os.environ)
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "clients", f"GIT_{who}_EMAIL": "clients@example.com"}
    command = ["git", "-C", repository, "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def write(name, text):
    with open(os.path.join(repository, name), "w") as file:
        file.write(text)


os.makedirs(repository, exist_ok=True)
git("init", "--quiet", "--initial-branch", "main")
write(
    "cloudbuild.yaml",
    f"""\
steps:
- id: cut
  name: {SERIN}
  args: ['$_COMMAND']
  env: ['UNUSED=$_UNKNOWN_IS_LOOSE', 'DOLLAR=$$HOME']
images: []
substitutions:
  _COMMAND: '${{_OPTION}}'
  _OPTION: --help
tags: ['$BRANCH_NAME', 'commit-$SHORT_SHA', '$TRIGGER_NAME']
""",
)
git("add", ".")
git("commit", "--quiet", "--message", "The first")
commit = git("rev-parse", "HEAD")
git("tag", "v1")
github = {"owner": "acme", "name": "shop", "push": {"branch": "^main$"}}
trigger = triggers.create(
    projectId=PROJECT,
    body={
        "name": "on-push",
        "github": github,
        "filename": "cloudbuild.yaml",
        "substitutions": {"_OPTION": "--version"},
    },
).execute()
assert trigger["id"] and trigger["createTime"], trigger
name = {"projectId": PROJECT, "triggerId": trigger["id"]}
by_name = {"projectId": PROJECT, "triggerId": "on-push"}
assert triggers.get(**name).execute() == triggers.get(**by_name).execute() == trigger
refused(
    409,
    "ALREADY_EXISTS",
    "on-push",
    triggers.create(
        projectId=PROJECT,
        body={"name": "on-push", "github": github, "filename": "cloudbuild.yaml"},
    ),
)
refused(
    400,
    "INVALID_ARGUMENT",
    "exactly one of",
    triggers.create(projectId=PROJECT, body={"name": "nothing", "github": github}),
)
refused(
    400,
    "INVALID_ARGUMENT",
    'Unknown name "colour" at \'github\'',
    triggers.create(projectId=PROJECT, body={"github": {"colour": 1}}),
)
ran = done(triggers.run(**by_name, body={"branchName": "main"}).execute())["response"]
assert ran["buildTriggerId"] == trigger["id"], ran
assert ran["substitutions"]["COMMIT_SHA"] == commit, ran
assert ran["substitutions"]["REPO_FULL_NAME"] == "acme/shop", ran
assert ran["options"]["dynamicSubstitutions"] is True, ran
assert ran["options"]["substitutionOption"] == "ALLOW_LOOSE", ran
assert ran["source"]["gitSource"]["revision"] == commit, ran
assert ran["steps"][0]["args"] == ["--version"], ran
assert ran["steps"][0]["env"] == ["UNUSED=", "DOLLAR=$HOME"], ran
assert ran["tags"] == [
    "main",
    f"commit-{commit[:7]}",
    "on-push",
    f"trigger-{trigger['id']}",
], ran
mine = [one["id"] for one in listed(filter=f'build_trigger_id="{trigger["id"]}"')]
assert mine == [ran["id"]], mine

# The newer form of run, by tag, with substitutions of the run's own.
regional = service.projects().locations().triggers()
full = f"projects/{PROJECT}/locations/global/triggers/{trigger['id']}"
ran = done(
    regional.run(
        name=full,
        body={
            "triggerId": trigger["id"],
            "source": {"tagName": "v1", "substitutions": {"_OPTION": "--help"}},
        },
    ).execute()
)["response"]
assert ran["steps"][0]["args"] == ["--help"], ran
assert ran["substitutions"]["TAG_NAME"] == "v1" and "BRANCH_NAME" not in ran["substitutions"]
refused(
    400,
    "FAILED_PRECONDITION",
    "Couldn't read commit",
    triggers.run(**name, body={"branchName": "no-such-branch"}),
)

# Patched by mask, disabled, listed, deleted; a repository that nobody mapped.
patched = regional.patch(
    resourceName=full,
    updateMask="description,disabled",
    body={"description": "sleeps", "disabled": True, "tags": ["left out"]},
).execute()
assert patched["disabled"] and patched["description"] == "sleeps" and "tags" not in patched
assert patched["id"] == trigger["id"] and patched["github"] == github
refused(
    400, "FAILED_PRECONDITION", "disabled", triggers.run(**name, body={"branchName": "main"})
)
other = triggers.create(
    projectId=PROJECT,
    body={
        "name": "elsewhere",
        "triggerTemplate": {"repoName": "elsewhere", "branchName": "main"},
        "build": {"steps": [{"name": SERIN, "args": ["$_ANY"]}]},
    },
).execute()
refused(
    400,
    "FAILED_PRECONDITION",
    "--repository elsewhere=PATH",
    triggers.run(projectId=PROJECT, triggerId="elsewhere", body={"branchName": "main"}),
)
found = triggers.list(projectId=PROJECT).execute()["triggers"]
assert {one["name"] for one in found} == {"on-push", "elsewhere"}, found
page = triggers.list(projectId=PROJECT, pageSize=1).execute()
assert len(page["triggers"]) == 1 and page["nextPageToken"], page
triggers.delete(**name).execute()
refused(404, "NOT_FOUND", "not found", triggers.get(**name))

# A trigger of an address, whose config is a file of that address.
manual = triggers.create(
    projectId=PROJECT,
    body={
        "sourceToBuild": {
            "uri": f"file://{repository}",
            "ref": "refs/heads/main",
            "repoType": "UNKNOWN",
        },
        "gitFileSource": {
            "path": "cloudbuild.yaml",
            "uri": f"file://{repository}",
            "repoType": "UNKNOWN",
        },
        "substitutions": {"_OPTION": "--version"},
        "approvalConfig": {"approvalRequired": True},
    },
).execute()
assert manual["name"], manual
operation = triggers.run(projectId=PROJECT, triggerId=manual["id"], body={}).execute()
pending = operation["metadata"]["build"]
assert pending["status"] == "PENDING" and pending["approval"]["state"] == "PENDING", pending
approval = {"approvalResult": {"decision": "APPROVED", "comment": "go"}}
operation = builds.approve(
    name=f"projects/{PROJECT}/builds/{pending['id']}", body=approval
).execute()
approved = done(operation)["response"]
assert approved["approval"]["state"] == "APPROVED", approved
assert approved["substitutions"]["BRANCH_NAME"] == "main", approved
print("google-api-python-client is content with Cloud Build")
