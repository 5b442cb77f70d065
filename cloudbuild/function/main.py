"""A Cloud Run function that starts a model's build by events, for teams that must have a function.

`serin listen` does more: it looks at the data and the model before it starts anything. This one starts a build for
every event that it is sent, within the limits, by the same objects in the bucket, so that `serin trigger history`
tells of it and one build is started for an event that is delivered twice. docs/triggers.md says how to deploy it.

Environment: PROJECT, BUCKET, MODEL, TRIGGER (its name in Cloud Build), and where they differ from what stands here
LOCATION (global), BRANCH (main), PREFIX (of the objects that count), COOL_DOWN (seconds, 21600), PER_DAY (4).
"""

import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone

import functions_framework

STORAGE = os.environ.get("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com").rstrip("/")
BUILD = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD", "https://cloudbuild.googleapis.com/").rstrip("/")
TOKEN = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
FORMAT = 1
STALE = timedelta(minutes=2)
DAY = timedelta(days=1)


class Again(Exception):
    """The event is to be delivered again."""


def setting(name, usual=None):
    return os.environ.get(name) or usual or exit(f"{name} is not set")


def call(method, url, body=None):
    """The answer of one request to Google; an emulator is shown no token."""
    headers = {"Content-Type": "application/json"}
    if ".googleapis.com/" in url:
        asked = urllib.request.Request(TOKEN, headers={"Metadata-Flavor": "Google"})
        with urllib.request.urlopen(asked, timeout=5) as answer:
            headers["Authorization"] = "Bearer " + json.load(answer)["access_token"]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, json.loads(answer.read() or b"{}")


def read(name):
    """An object and its generation; (None, 0) where there is none."""
    path = f"{STORAGE}/storage/v1/b/{setting('BUCKET')}/o/{urllib.parse.quote(name, safe='')}?alt=media"
    try:
        headers, body = call("GET", path)
    except urllib.error.HTTPError as e:
        if e.code == 404:
            return None, 0
        raise
    if body["format"] > FORMAT:
        raise Again(f"{name} was written by a later serin")
    return body, int(headers["x-goog-generation"])


def write(name, body, generation):
    """Replaces an object of a generation, 0 for one that is not there; False where another was faster."""
    body = {**body, "format": FORMAT, "writer": uuid.uuid4().hex}
    query = urllib.parse.urlencode({"uploadType": "media", "name": name, "ifGenerationMatch": generation})
    try:
        call("POST", f"{STORAGE}/upload/storage/v1/b/{setting('BUCKET')}/o?{query}", body)
    except urllib.error.HTTPError as e:
        if e.code != 412:
            raise
        # After a lost answer it may be one's own.
        found, _ = read(name)
        return found is not None and found["writer"] == body["writer"]
    return True


def builds():
    return f"{BUILD}/v1/projects/{setting('PROJECT')}/locations/{setting('LOCATION', 'global')}/builds"


def time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def held_back(firings, now):
    """Which limit says no, in a sentence; None where none does."""
    since = [now - time(firing["decided_at"]) for firing in firings]
    if any(age < timedelta(seconds=int(setting("COOL_DOWN", "21600"))) for age in since):
        return "cool_down"
    if sum(age < DAY for age in since) >= int(setting("PER_DAY", "4")):
        return "per_day"
    for firing, age in zip(firings, since):
        if not firing.get("ended") and firing.get("build") and age < 2 * DAY:
            _, build = call("GET", f"{builds()}/{firing['build']}")
            if build["status"] in ("PENDING", "QUEUED", "WORKING"):
                return "one_at_a_time"
    return None


def tell(firing):
    """Puts a firing into the ledger of all models, in the place of what stood there of it."""
    for _ in range(20):
        ledger, generation = read("triggers/ledger.json")
        firings = (ledger or {}).get("firings", [])
        others = [f for f in firings if (f["model"], f["key"]) != (firing["model"], firing["key"])]
        if write("triggers/ledger.json", {"firings": others + [firing]}, generation):
            return
    raise Again("triggers/ledger.json is written by others without pause")


def run(firing):
    """The id of the build of a key: one that was started before, or a new one."""
    filter = urllib.parse.urlencode({"filter": f'create_time>="{firing["decided_at"]}"'})
    _, listed = call("GET", f"{builds()}?{filter}")
    for build in listed.get("builds", []):
        if build.get("substitutions", {}).get("_SERIN_KEY") == firing["key"]:
            return build["id"]
    words = {"CAUSE": "cause", "REASON": "reason", "KEY": "key", "MODEL": "model"}
    substitutions = {f"_SERIN_{word}": firing[field] for word, field in words.items()}
    source = {"branchName": setting("BRANCH", "main"), "substitutions": substitutions}
    trigger = builds().replace("/builds", f"/triggers/{setting('TRIGGER')}:run")
    _, started = call("POST", trigger, {"source": source})
    return started["metadata"]["build"]["id"]


def start(key, reason):
    """Starts the build of a key once; what was done, in a word."""
    now, model = datetime.now(timezone.utc), setting("MODEL")
    name = f"triggers/{model}/{key}.json"
    firing, generation = read(name)
    if firing and firing.get("build"):
        return "seen before"
    if firing and now - time(firing["attempted_at"]) < STALE:
        raise Again(f"the build of {key} is being started")
    if not firing:
        ledger, ledger_generation = read("triggers/ledger.json")
        firings = (ledger or {}).get("firings", [])
        limit = held_back([f for f in firings if (f["model"], f["key"]) != (model, key)], now)
        if limit:
            return f"held back by {limit}"
        at = now.isoformat().replace("+00:00", "Z")
        firing = {
            "model": model, "key": key, "cause": "new_data", "reason": reason, "by": "function", "decided_at": at,
            "project": setting("PROJECT"), "location": setting("LOCATION", "global"), "attempts": 0,
        }  # fmt: skip
        if not write("triggers/ledger.json", {"firings": firings + [firing]}, ledger_generation):
            raise Again("another decision was made at this moment")
    firing["attempts"] += 1
    firing["attempted_at"] = now.isoformat().replace("+00:00", "Z")
    if not write(name, firing, generation):
        raise Again(f"another starts the build of {key}")
    firing["build"] = run(firing)
    _, generation = read(name)
    write(name, firing, generation)
    tell(firing)
    return f"started the build {firing['build']}"


@functions_framework.cloud_event
def serin(event):
    """Starts the build that an event asks for; raises where it is to be delivered again."""
    # Broken JSON arrives as bytes: it will not get better.
    data = event.data if isinstance(event.data, dict) else {}
    subject = data.get("name", "")
    if subject.startswith(("triggers/", "monitor/", "snapshots/", "models/", "jobs/", "versions/", "rollouts/")):
        return
    if not subject.startswith(os.environ.get("PREFIX", "")):
        return
    of_event = hashlib.sha256(f"{event['source']}\n{event['id']}".encode()).hexdigest()[:12]
    what = f"gs://{data['bucket']}/{subject}" if subject else event["type"]
    print(start(f"event-{of_event}", f"{what} came".replace("$", "\uff04")[:300]), flush=True)
