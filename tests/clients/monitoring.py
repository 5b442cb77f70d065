"""Google's own discovery client (google-api-python-client) for Cloud Monitoring against the emulator.

    monitoring.py URL
"""

import datetime
import json
import sys
import urllib.request

from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

url = sys.argv[1].rstrip("/")
service = build(
    "monitoring",
    "v3",
    client_options={"api_endpoint": url},
    credentials=AnonymousCredentials(),
    static_discovery=True,
    cache_discovery=False,
)
PROJECT = "projects/clients-project"
series, descriptors = service.projects().timeSeries(), service.projects().metricDescriptors()


def refused(code, part, request):
    """The request must be refused with this code and words."""
    try:
        request.execute()
    except HttpError as error:
        assert error.status_code == code, error
        assert part in error.reason, error.reason
        return
    raise AssertionError(f"expected {code}")


# Times are on the emulator's clock, which is ahead of this machine's.
with urllib.request.urlopen(f"{url}/_serin/clock") as reply:
    clock = json.load(reply)
read = datetime.datetime.fromisoformat
real = datetime.datetime.now(datetime.timezone.utc)
now = read(clock["shown"]) + (real - read(clock["real"])) * clock["scale"]


def at(seconds):
    """So many seconds before now, as the API writes times."""
    return (now - datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def one(name, labels, value, end, start=None, **more):
    interval = {"endTime": at(end)}
    if start is not None:
        interval["startTime"] = at(start)
    return {
        "metric": {"type": f"custom.googleapis.com/serin/{name}", "labels": labels},
        "resource": {"type": "global", "labels": {"project_id": "clients-project"}},
        "points": [{"interval": interval, "value": value}],
        **more,
    }


def write(*all_series):
    return series.create(name=PROJECT, body={"timeSeries": list(all_series)})


def listed(name, **arguments):
    """Every series of a metric over the last hour, page by page."""
    request = series.list(
        name=PROJECT,
        filter=f'metric.type="custom.googleapis.com/serin/{name}"' + arguments.pop("also", ""),
        interval_startTime=at(3600),
        interval_endTime=at(0),
        view="FULL",
        **arguments,
    )
    found = []
    while request is not None:
        reply = request.execute()
        found += reply.get("timeSeries", [])
        request = series.list_next(request, reply)
    return found


def values(one_series):
    return [
        float(next(iter(point["value"].values()))) for point in one_series["points"]
    ]


# Points of a gauge, two series, newest first.
for end, value in [(600, 1.0), (540, 3.0), (30, 8.0)]:
    assert (
        write(
            one("loss", {"fold": "a"}, {"doubleValue": value}, end),
            one("loss", {"fold": "b"}, {"doubleValue": 2 * value}, end),
        ).execute()
        == {}
    )
found = listed("loss")
assert [values(each) for each in found] == [[8.0, 3.0, 1.0], [16.0, 6.0, 2.0]], found
assert found[0]["metricKind"] == "GAUGE" and found[0]["valueType"] == "DOUBLE", found
assert [values(each) for each in listed("loss", also=' AND metric.labels.fold="b"')] == [
    [16.0, 6.0, 2.0]
]
paged = listed("loss", pageSize=2)
assert sum((values(each) for each in paged), []) == [8.0, 3.0, 1.0, 16.0, 6.0, 2.0], paged
mean = listed(
    "loss", aggregation_alignmentPeriod="1800s", aggregation_perSeriesAligner="ALIGN_MEAN"
)
assert [values(each) for each in mean] == [[4.0], [8.0]], mean
total = listed(
    "loss",
    aggregation_alignmentPeriod="1800s",
    aggregation_perSeriesAligner="ALIGN_MAX",
    aggregation_crossSeriesReducer="REDUCE_SUM",
)
assert [values(each) for each in total] == [[24.0]], total
by_fold = listed(
    "loss",
    aggregation_alignmentPeriod="1800s",
    aggregation_perSeriesAligner="ALIGN_MIN",
    aggregation_crossSeriesReducer="REDUCE_MEAN",
    aggregation_groupByFields=["metric.label.fold"],
)
assert [values(each) for each in by_fold] == [[1.0], [2.0]], by_fold

# A counter, whose beginning changes when it is reset.
for end, start, value in [(900, 1000, 5), (800, 1000, 9), (300, 350, 2)]:
    counter = one("rows", {}, {"int64Value": str(value)}, end, start, metricKind="CUMULATIVE")
    write(counter).execute()
delta = listed(
    "rows", aggregation_alignmentPeriod="3600s", aggregation_perSeriesAligner="ALIGN_DELTA"
)
assert [values(each) for each in delta] == [[11.0]], delta
assert delta[0]["metricKind"] == "DELTA" and delta[0]["valueType"] == "INT64", delta

# What Monitoring refuses.
again = one("loss", {"fold": "a"}, {"doubleValue": 1.0}, 30)
fresh = one("loss", {"fold": "c"}, {"doubleValue": 1.0}, 20)
refused(400, "Points must be written in order", write(again, fresh))
assert len(listed("loss")) == 3, "what is fine is written beside what is not"
twice = one("loss", {"fold": "d"}, {"doubleValue": 1.0}, 10)
refused(400, "Duplicate TimeSeries", write(twice, twice))
refused(400, "is GAUGE of DOUBLE", write(one("loss", {"fold": "e"}, {"int64Value": "1"}, 10)))
refused(400, "25 hours", write(one("loss", {"fold": "a"}, {"doubleValue": 1.0}, 100 * 3600)))
refused(400, "25 hours", write(one("loss", {"fold": "a"}, {"doubleValue": 1.0}, -24 * 3600)))
wrong = one("loss", {}, {"doubleValue": 1.0}, 10)
wrong["metric"]["type"] = "compute.googleapis.com/instance/cpu"
refused(400, "no metric that may be written", write(wrong))
refused(400, "1 to 200", write())
refused(400, "exactly one value", write(one("loss", {"fold": "f"}, {}, 10)))
refused(404, "Cannot find metric", series.list(
    name=PROJECT,
    filter='metric.type="custom.googleapis.com/serin/none"',
    interval_endTime=at(0),
    view="FULL",
))
refused(400, "cannot be applied", series.list(
    name=PROJECT,
    filter='metric.type="custom.googleapis.com/serin/rows"',
    interval_endTime=at(0),
    view="FULL",
    aggregation_alignmentPeriod="60s",
    aggregation_perSeriesAligner="ALIGN_MEAN",
))

# Metrics of endpoints: none has answered yet, so the project never had them, as it has not what is none.
online = "aiplatform.googleapis.com/prediction/online"
refused(404, "Cannot find metric", series.list(
    name=PROJECT,
    filter=f'metric.type="{online}/response_count" AND resource.labels.endpoint_id="1"',
    interval_startTime=at(3600),
    interval_endTime=at(0),
    view="FULL",
    aggregation_alignmentPeriod="60s",
    aggregation_perSeriesAligner="ALIGN_DELTA",
    aggregation_crossSeriesReducer="REDUCE_SUM",
    aggregation_groupByFields="metric.label.deployed_model_id",
))
refused(404, "Cannot find metric", series.list(
    name=PROJECT, filter=f'metric.type="{online}/colour"', interval_endTime=at(0), view="FULL"
))

# Descriptors: Vertex AI's, those that series made, and one made by hand.
latencies = descriptors.get(
    name=f"{PROJECT}/metricDescriptors/{online}/prediction_latencies"
).execute()
assert latencies["valueType"] == "DISTRIBUTION" and latencies["unit"] == "ms", latencies
made = descriptors.get(
    name=f"{PROJECT}/metricDescriptors/custom.googleapis.com/serin/loss"
).execute()
assert made["metricKind"] == "GAUGE" and made["labels"] == [{"key": "fold"}], made
by_hand = descriptors.create(
    name=PROJECT,
    body={
        "type": "custom.googleapis.com/serin/age",
        "metricKind": "GAUGE",
        "valueType": "INT64",
        "unit": "s",
        "labels": [{"key": "table", "valueType": "STRING"}],
    },
).execute()
assert by_hand["name"].endswith("/metricDescriptors/custom.googleapis.com/serin/age"), by_hand
assert listed("age") == []
own = descriptors.list(
    name=PROJECT, filter='metric.type = starts_with("custom.googleapis.com/serin/")'
).execute()["metricDescriptors"]
names = [each["type"].rsplit("/")[-1] for each in own]
assert names == ["age", "loss", "rows"], names
every = descriptors.list(name=PROJECT).execute()["metricDescriptors"]
assert len(every) == 7, every
descriptors.delete(name=made["name"]).execute()
refused(404, "descriptor", descriptors.get(name=made["name"]))
print("google-api-python-client is content with Monitoring")
