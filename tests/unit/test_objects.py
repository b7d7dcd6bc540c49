"""Large pictures by reference: what may be fetched, and what a store may do to us."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream import objects
from eyestream.errors import Misconfigured, Rejected, Unavailable

EYE = b"\xff\xd8 a large picture of an eye"
SHA = hashlib.sha256(EYE).hexdigest()


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    if request.param == "folder":
        (tmp_path / "store").mkdir()
        return str(tmp_path / "store")
    return f"memory://{tmp_path.name}/store"


def reason_of(reference, *, allowed, sha256=SHA, max_bytes=1000):
    with pytest.raises(Rejected) as caught:
        objects.fetch(reference, sha256=sha256, max_bytes=max_bytes, allowed=allowed)
    assert caught.value.stage == "reference"
    return caught.value.reason


def test_what_was_put_is_fetched(store):
    reference = objects.put(store, EYE, sha256=SHA)
    assert objects.fetch(reference, sha256=SHA, max_bytes=len(EYE), allowed=[store]) == EYE


def test_the_same_bytes_have_one_name(store):
    assert objects.put(store, EYE, sha256=SHA) == objects.put(store, EYE, sha256=SHA)


@pytest.mark.parametrize("store", ["s3://eyes", "gs://eyes/north/", "abfs://eyes", "memory://eyes", "file:///eyes"])
def test_an_object_is_named_by_its_bytes_in_every_kind_of_store(store):
    """What a device wrote into a message must be found by a line of another release."""
    assert objects.reference(store, SHA) == f"{store.rstrip('/')}/{SHA[:2]}/{SHA}"


def test_a_store_that_fails_while_it_is_written_is_waited_for(tmp_path, monkeypatch):
    def broken(self, path, value, **_kwargs):
        raise RuntimeError("of the client's own kind")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", broken)
    with pytest.raises(Unavailable, match="object store is unavailable: RuntimeError"):
        objects.put(f"memory://{tmp_path.name}", EYE, sha256=SHA)


def test_a_wrong_sha256_is_not_stored(store):
    with pytest.raises(ValueError, match="sha256"):
        objects.put(store, EYE, sha256="0" * 64)


def test_putting_leaves_nothing_but_the_object(tmp_path):
    objects.put(str(tmp_path), EYE, sha256=SHA)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [SHA]


def test_a_torn_object_is_replaced(tmp_path):
    reference = objects.put(str(tmp_path), EYE, sha256=SHA)
    Path(reference.removeprefix("file://")).write_bytes(EYE[:5])
    objects.put(str(tmp_path), EYE, sha256=SHA)
    assert objects.fetch(reference, sha256=SHA, max_bytes=1000, allowed=[str(tmp_path)]) == EYE


def test_many_writers_of_one_picture_agree(tmp_path):
    references = []
    threads = [
        threading.Thread(target=lambda: references.append(objects.put(str(tmp_path), EYE, sha256=SHA)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(references) == 8
    assert len(set(references)) == 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_missing_object_is_the_messages_fault(store):
    reference = objects.put(store, EYE, sha256=SHA)
    assert reason_of(reference.replace(SHA, "1" * 64), allowed=[store]) == "reference-missing"


def test_an_object_that_changed_is_refused(store):
    reference = objects.put(store, EYE, sha256=SHA)
    assert reason_of(reference, allowed=[store], sha256="0" * 64) == "checksum-mismatch"


def test_an_object_above_the_limit_is_refused(store):
    reference = objects.put(store, EYE, sha256=SHA)
    assert reason_of(reference, allowed=[store], max_bytes=len(EYE) - 1) == "too-many-bytes"


@pytest.mark.parametrize(
    "reference",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "file:///etc/../etc/passwd",
        "FILE:///etc/passwd",
        "http://127.0.0.1:8080/secret",
        "http://169.254.169.254/latest/meta-data/",
        "ftp://elsewhere/eye",
        "{store}/../secret",
        "{store}/%2e%2e/secret",
        "{store}/x/../../secret",
        "{store}-of-others/eye",
        "{store}",
        "{store}/",
        "{store}//eye",
        "{store}/eye?versionId=1",
        "{store}/eye#1",
        "{store}/eye\x00",
        "{store}/eye\n",
        "{store}\\..\\secret",
        "simplecache::{store}/eye",
        "{store}/eye::http://127.0.0.1/secret",
        "zip://eye::{store}/eyes.zip",
        "s3://eyes/eye",
        "",
        "://",
    ],
)
def test_a_reference_outside_the_allowed_stores_is_refused(tmp_path, reference):
    (tmp_path / "store").mkdir()
    (tmp_path / "secret").write_bytes(EYE)
    (tmp_path / "store-of-others").mkdir()
    (tmp_path / "store-of-others" / "eye").write_bytes(EYE)
    store = f"file://{tmp_path}/store"
    assert reason_of(reference.replace("{store}", store), allowed=[store]) == "reference-not-allowed"


def test_nothing_is_allowed_by_default(tmp_path):
    reference = objects.put(str(tmp_path), EYE, sha256=SHA)
    assert reason_of(reference, allowed=[]) == "reference-not-allowed"


def test_a_link_out_of_the_store_is_refused(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "secret").write_bytes(EYE)
    (tmp_path / "store" / "eye").symlink_to(tmp_path / "secret")
    assert reason_of(f"file://{tmp_path}/store/eye", allowed=[f"file://{tmp_path}/store"]) == "reference-not-allowed"


def test_a_pipe_in_the_store_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "eye")
    assert reason_of(f"file://{tmp_path}/eye", allowed=[str(tmp_path)]) == "reference-missing"


def test_a_store_that_is_not_mounted_is_waited_for(tmp_path):
    with pytest.raises(Unavailable, match="object store"):
        objects.fetch(f"file://{tmp_path}/away/eye", sha256=SHA, max_bytes=9, allowed=[f"{tmp_path}/away"])


@pytest.mark.parametrize(("scheme", "asks"), [("file", "mounted"), ("memory", "its name")])
def test_an_empty_store_is_waited_for(tmp_path, scheme, asks):
    """The place of a disk that is not mounted is an empty folder; a bucket that is misspelt holds nothing."""
    with pytest.raises(Unavailable, match=asks):
        objects.fetch(f"{scheme}://{tmp_path}/eye", sha256=SHA, max_bytes=9, allowed=[f"{scheme}://{tmp_path}"])


@pytest.mark.parametrize(("owner", "question"), [(os.path, "realpath"), (Path, "is_file"), (Path, "open")])
def test_a_store_that_goes_while_it_is_read_is_waited_for(tmp_path, monkeypatch, owner, question):
    store = tmp_path / "store"
    store.mkdir()
    reference = objects.put(str(store), EYE, sha256=SHA)
    asked = getattr(owner, question)

    def going(path, *args, **kwargs):
        if os.access(store, os.F_OK):
            store.rename(tmp_path / "away")
        return asked(path, *args, **kwargs)

    allowed = [f"file://{store}"]
    with monkeypatch.context() as patch:
        patch.setattr(owner, question, going)
        with pytest.raises(Unavailable, match="object store"):
            objects.fetch(reference, sha256=SHA, max_bytes=1000, allowed=allowed)
    (tmp_path / "away").rename(store)
    assert objects.fetch(reference, sha256=SHA, max_bytes=1000, allowed=allowed) == EYE


@pytest.mark.parametrize("name", ["eye/below-a-file", "ring", "n" * 300])
def test_a_name_no_file_can_have_is_the_messages_fault(tmp_path, name):
    (tmp_path / "eye").write_bytes(EYE)
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    assert reason_of(f"file://{tmp_path}/{name}", allowed=[str(tmp_path)]) == "reference-missing"


def test_a_name_no_object_can_have_is_the_messages_fault(tmp_path, monkeypatch):
    """S3's client calls it an error of the store's, as it calls one that is overloaded."""
    store = f"memory://{tmp_path.name}"
    objects.put(store, EYE, sha256=SHA)

    def too_long(self, path, **_kwargs):
        raise OSError(errno.EINVAL, "Bad Request")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.info", too_long)
    assert reason_of(f"{store}/{'n' * 1024}", allowed=[store]) == "reference-missing"
    with pytest.raises(Unavailable):
        objects.fetch(f"{store}/{'n' * 512}", sha256=SHA, max_bytes=9, allowed=[store])


def test_an_empty_object_is_the_messages_fault(tmp_path, monkeypatch):
    """S3 gives no range of it, and its client calls that an error of the store's."""
    store = f"memory://{tmp_path.name}"
    reference = objects.put(store, b"", sha256=hashlib.sha256(b"").hexdigest())

    def no_such_range(self, path, **_kwargs):
        raise OSError(errno.EINVAL, "The requested range is not satisfiable")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", no_such_range)
    assert reason_of(reference, allowed=[store]) == "checksum-mismatch"


def test_a_picture_is_not_put_where_a_disk_should_be(tmp_path):
    with pytest.raises(Unavailable, match="mount"):
        objects.put(str(tmp_path / "store"), EYE, sha256=SHA)
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_is_waited_for(tmp_path):
    (tmp_path / "store").write_bytes(b"a file where a folder should be")
    with pytest.raises(Unavailable, match="object store"):
        objects.put(str(tmp_path / "store"), EYE, sha256=SHA)


def test_a_store_that_can_redirect_is_the_operators_fault():
    with pytest.raises(Misconfigured, match="http"):
        objects.fetch("http://store/eye", sha256=SHA, max_bytes=9, allowed=["http://store/"])


@pytest.mark.parametrize(
    "store",
    ["s3://eyes/../others", "s3://eyes/.", "s3://eyes?version=1", "s3://eyes%2e", "memory://a//b", "s3://a::file:///b"],
)
def test_a_store_whose_address_can_mean_another_place_is_the_operators_fault(store):
    with pytest.raises(Misconfigured, match=r"no '\.\.', query, escape or chain"):
        objects.put(store, EYE, sha256=SHA)
    with pytest.raises(Misconfigured, match=r"no '\.\.', query, escape or chain"):
        objects.fetch("s3://eyes/one", sha256=SHA, max_bytes=9, allowed=[store])


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="this machine can reach gs://")
def test_a_store_whose_client_is_not_installed_is_the_operators_fault():
    with pytest.raises(Misconfigured, match="gcsfs"):
        objects.fetch("gs://eyes/eye", sha256=SHA, max_bytes=9, allowed=["gs://eyes"])


@given(st.text(max_size=60))
def test_no_text_reads_outside_the_store(tmp_path_factory, text):
    store = tmp_path_factory.getbasetemp() / "one-eye"
    store.mkdir(exist_ok=True)
    (store / SHA).write_bytes(EYE)  # a name that is longer than any text
    for reference in (text, f"file://{store}/{text}"):
        assert reason_of(reference, allowed=[str(store)]) in {"reference-not-allowed", "reference-missing"}
