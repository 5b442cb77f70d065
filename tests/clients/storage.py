"""Drives Google's own client for Cloud Storage against the server that STORAGE_EMULATOR_HOST names.

Prints a line for each check; exits 1 at the end if one failed.
"""

import io
import os
import sys
import traceback

from google.api_core import exceptions
from google.cloud import storage

CHUNK = 262_144
failed = 0


def check(name):
    def run(function):
        global failed
        try:
            function()
            print(f"ok   {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {name}", flush=True)
            traceback.print_exc(file=sys.stdout)

    return run


def refused(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}")


assert os.environ.get("STORAGE_EMULATOR_HOST"), "STORAGE_EMULATOR_HOST is not set"
client = storage.Client(project="my-project")
bucket = client.bucket("serin-client-check")
data = bytes(i * 7 % 256 for i in range(3 * CHUNK + 1234))


@check("a bucket is created, found and listed")
def _():
    created = client.create_bucket(bucket, location="europe-west4")
    assert created.location == "EUROPE-WEST4" and created.location_type == "region"
    assert client.get_bucket(bucket.name).project_number
    assert bucket.name in [b.name for b in client.list_buckets()]
    assert client.lookup_bucket("serin-no-such-bucket") is None


@check("a bucket that is taken is a conflict")
def _():
    refused(exceptions.Conflict, client.create_bucket, bucket.name)


@check("labels are patched")
def _():
    found = client.get_bucket(bucket.name)
    found.labels = {"team": "ml"}
    found.patch()
    assert client.get_bucket(bucket.name).labels == {"team": "ml"}


@check("a small object goes up in parts and comes back")
def _():
    blob = bucket.blob("d/ä b%2F?.txt")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("hello", content_type="text/plain")
    assert blob.size == 5 and blob.md5_hash and blob.crc32c and blob.generation
    again = bucket.get_blob(blob.name)
    assert again.metadata == {"k": "v"} and again.content_type == "text/plain"
    assert again.download_as_bytes() == b"hello"
    assert again.download_as_bytes(start=1, end=3) == b"ell"
    assert blob.exists() and not bucket.blob("nothing").exists()
    assert bucket.get_blob("nothing") is None


@check("checksums are verified by the client and by the server")
def _():
    for checksum in ["md5", "crc32c"]:
        blob = bucket.blob(f"sum-{checksum}")
        blob.upload_from_string(data, checksum=checksum)
        assert blob.download_as_bytes(checksum=checksum) == data


@check("a resumable upload in chunks comes back")
def _():
    blob = bucket.blob("resumable", chunk_size=CHUNK)
    blob.upload_from_file(io.BytesIO(data), size=len(data), checksum="crc32c")
    assert blob.size == len(data)
    assert bucket.blob("resumable").download_as_bytes() == data


@check("a resumable upload of unknown size comes back")
def _():
    blob = bucket.blob("streamed")
    with blob.open("wb", chunk_size=CHUNK, ignore_flush=True) as out:
        for at in range(0, len(data), 100_000):
            out.write(data[at : at + 100_000])
    with bucket.blob("streamed").open("rb", chunk_size=CHUNK) as back:
        assert back.read() == data


@check("a download in chunks comes back")
def _():
    out = io.BytesIO()
    bucket.blob("resumable", chunk_size=CHUNK).download_to_file(out)
    assert out.getvalue() == data


@check("lists have prefixes, pages and versions")
def _():
    for name in ["l/1", "l/2", "l/m/3", "l/m/4"]:
        bucket.blob(name).upload_from_string("")
    pages = client.list_blobs(bucket, prefix="l/", delimiter="/", max_results=10, page_size=1)
    assert [b.name for b in pages] == ["l/1", "l/2"], "items"
    assert pages.prefixes == {"l/m/"}, pages.prefixes
    names = lambda **kwargs: [b.name for b in client.list_blobs(bucket, **kwargs)]
    assert names(start_offset="l/2", end_offset="l/m/4") == ["l/2", "l/m/3"]
    assert names(match_glob="l/*/3") == ["l/m/3"]
    assert names(prefix="l/", fields="items(name),nextPageToken", page_size=2) == ["l/1", "l/2", "l/m/3", "l/m/4"]
    assert names(prefix="l/m", versions=True) == ["l/m/3", "l/m/4"]


@check("objects are composed")
def _():
    parts = []
    for i in range(3):
        part = bucket.blob(f"part-{i}")
        part.upload_from_string(data[i * 1000 : (i + 1) * 1000])
        parts.append(part)
    whole = bucket.blob("whole")
    whole.content_type = "text/x"
    whole.compose(parts, if_generation_match=0)
    whole.reload()
    assert whole.component_count == 3 and whole.md5_hash is None
    assert whole.download_as_bytes() == data[:3000]


@check("objects are copied, rewritten, renamed")
def _():
    source = bucket.get_blob("resumable")
    copy = bucket.copy_blob(source, bucket, "copy")
    assert copy.crc32c == source.crc32c
    token, written, total = bucket.blob("rewritten").rewrite(source)
    assert token is None and written == total == len(data)
    renamed = bucket.rename_blob(copy, "renamed")
    assert renamed.exists() and not bucket.blob("copy").exists()
    renamed.update_storage_class("NEARLINE")
    renamed.reload()
    assert renamed.storage_class == "NEARLINE"


@check("metadata is patched under a precondition")
def _():
    blob = bucket.get_blob("whole")
    blob.metadata = {"a": "1"}
    blob.patch(if_metageneration_match=blob.metageneration)
    refused(exceptions.PreconditionFailed, blob.patch, if_metageneration_match=77)
    blob.reload()
    assert blob.metadata == {"a": "1"} and blob.metageneration == 2


@check("preconditions are kept")
def _():
    blob = bucket.blob("journal")
    blob.upload_from_string("1", if_generation_match=0)
    first = blob.generation
    refused(exceptions.PreconditionFailed, blob.upload_from_string, "2", if_generation_match=0)
    blob.upload_from_string("2", if_generation_match=first)
    assert blob.generation > first
    refused(exceptions.PreconditionFailed, blob.delete, if_generation_match=first)
    refused(exceptions.NotFound, bucket.blob("journal", generation=first).download_as_bytes)
    refused(
        exceptions.PreconditionFailed,
        bucket.blob("resumable", chunk_size=CHUNK).upload_from_file,
        io.BytesIO(data),
        if_generation_match=0,
    )


@check("a gzip object is unpacked by whoever does not ask for it packed")
def _():
    import gzip

    blob = bucket.blob("packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(data))
    assert bucket.blob("packed").download_as_bytes() == data
    assert gzip.decompress(bucket.blob("packed").download_as_bytes(raw_download=True)) == data


@check("a batch deletes many objects")
def _():
    with client.batch():
        for name in ["l/1", "l/2"]:
            bucket.blob(name).delete()
    assert not bucket.blob("l/1").exists() and bucket.blob("l/m/3").exists()


@check("a bucket with objects is not deleted, an empty one is")
def _():
    refused(exceptions.Conflict, bucket.delete)
    bucket.delete_blobs([b for b in bucket.list_blobs() if b.name.startswith("l/")])
    refused(exceptions.NotFound, bucket.delete_blob, "l/m/3")
    bucket.delete(force=True)
    refused(exceptions.NotFound, client.get_bucket, bucket.name)


sys.exit(1 if failed else 0)
