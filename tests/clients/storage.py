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


@check("many parts go up and down at once, over the XML API")
def _():
    import pathlib
    import tempfile

    from google.cloud.storage import transfer_manager

    big = os.urandom(11 << 20)
    threads = dict(worker_type=transfer_manager.THREAD, max_workers=4)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "big")
        path.write_bytes(big)
        blob = bucket.blob("d/many parts")
        blob.metadata = {"k": "v"}
        blob.content_type = "text/x"
        transfer_manager.upload_chunks_concurrently(path, blob, chunk_size=5 << 20, **threads)
        found = bucket.get_blob(blob.name)
        assert found.content_type == "text/x" and found.metadata == {"k": "v"}
        assert found.md5_hash is None and found.crc32c
        back = pathlib.Path(folder, "back")
        transfer_manager.download_chunks_concurrently(blob, back, chunk_size=3 << 20, **threads)
        assert back.read_bytes() == big
        results = transfer_manager.upload_many_from_filenames(
            bucket, ["big"], source_directory=folder, blob_name_prefix="many/", **threads
        )
        assert results == [None], results


@check("etags are conditions of reads")
def _():
    blob = bucket.get_blob("journal")
    assert blob.download_as_bytes(if_etag_match=blob.etag) == b"2"
    refused(exceptions.NotModified, blob.download_as_bytes, if_etag_not_match=blob.etag)
    refused(exceptions.PreconditionFailed, blob.download_as_bytes, if_etag_match="other")


@check("generations are listed where the bucket is versioned")
def _():
    bucket.versioning_enabled = True
    bucket.patch()
    for text in ["1", "2"]:
        bucket.blob("versioned").upload_from_string(text)
    names = [b.name for b in client.list_blobs(bucket, prefix="versioned", versions=True)]
    assert names == ["versioned", "versioned"], names
    for blob in list(client.list_blobs(bucket, prefix="versioned", versions=True)):
        bucket.delete_blob(blob.name, generation=blob.generation)
    bucket.versioning_enabled = False
    bucket.patch()


@check("a held object stays")
def _():
    blob = bucket.get_blob("journal")
    blob.temporary_hold = True
    blob.patch()
    refused(exceptions.Forbidden, blob.delete)
    blob.temporary_hold = False
    blob.patch()


@check("policies are kept; access control lists are refused")
def _():
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    bucket.set_iam_policy(policy)
    again = bucket.get_iam_policy(requested_policy_version=3)
    assert "roles/storage.objectViewer" in [b["role"] for b in again.bindings]
    assert bucket.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    refused(exceptions.BadRequest, bucket.blob("journal").make_public)


@check("a lifecycle is kept")
def _():
    bucket.add_lifecycle_delete_rule(age=2)
    bucket.patch()
    rules = list(client.get_bucket(bucket.name).lifecycle_rules)
    assert [rule["condition"] for rule in rules] == [{"age": 2}], rules


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
