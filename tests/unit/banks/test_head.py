from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors

from eyestream.banks import files
from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.records import Digest
from eyestream.scoring import Adapter, Cache, Judge, Row, View, score

ORIGIN = Provenance(
    encoder=Digest("e" * 64),
    preprocessing=Digest("f" * 64),
    kind="adapter",
    programme="demo",
    text_tower="t" * 64,
    tokenizer="wordpiece-21128",
    padding="to 77",
    templates=("a fundus photograph of {}",),
)


def noise(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def view(name="any", **changes):
    parts = {
        "name": name,
        "prototypes": noise(3, 4),
        "bias": noise(3),
        "pooling": np.asarray([[0.5, 0.5, 0], [0, 0, 1]], np.float32),
        "scale": 20.0,
        "projection": noise(4, 6, seed=6),
        "adapter": Adapter(noise(2, 4, seed=7), noise(4, 2, seed=8), 0.2),
        "cache": Cache(noise(5, 4, seed=9), noise(5, 2, seed=10), 1.0, 5.5),
    }
    return View(**{**parts, **changes})


ROWS = (Row("harte Exsudate"), Row("硬性渗出"), Row("a healthy macula", "negative"))
JUDGES = (
    Judge("exudates", "finding", 0, (1,), (0, 1), {"balanced": 0.5, "high-sensitivity": 0.2}, "balanced", 0.8, -0.1),
)


def head(*views, rows=ROWS, judges=JUDGES):
    return ScoreHead(views or (view(),), rows, judges, ORIGIN)


def test_a_head_comes_back_from_its_file_whole(tmp_path):
    saved = head(view("patient"), view("left", scale=3.0, adapter=None), view("right", cache=None))
    loaded = ScoreHead.load(saved.save(tmp_path))
    assert (loaded.digest, loaded.rows, loaded.judges, loaded.provenance) == (
        saved.digest,
        saved.rows,
        saved.judges,
        saved.provenance,
    )
    x = noise(4, 6, seed=1)
    assert score(loaded, x, lateralities=list("RLUR")) == score(saved, x, lateralities=list("RLUR"))


def test_a_head_of_raw_features_without_a_projection_comes_back_as_that(tmp_path):
    saved = head(view(l2=False, projection=None, adapter=None, cache=None))
    loaded = ScoreHead.load(saved.save(tmp_path))
    (one,) = loaded.views
    assert (one.l2, one.projection, one.adapter, one.cache, loaded.dim) == (False, None, None, None, 4)
    x = 9 * noise(4, 4, seed=1)
    assert score(loaded, x) == score(saved, x)


def test_a_head_that_another_version_wrote_keeps_the_digest_of_its_file(tmp_path):
    tensors, metadata = files.unpack(head().to_bytes())
    content = files.pack(tensors, json.dumps(json.loads(metadata), indent=1))
    name = hashlib.sha256(content).hexdigest()
    (tmp_path / f"{name}.safetensors").write_bytes(content)
    loaded = ScoreHead.load(tmp_path / f"{name}.safetensors")
    assert loaded.digest == name != head().digest


def test_the_file_is_named_by_the_sha256_of_its_bytes(tmp_path):
    path = head().save(tmp_path)
    assert path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.safetensors"


def test_the_same_head_has_the_same_bytes_and_any_change_other_ones():
    assert head().to_bytes() == head().to_bytes()
    changed = [
        head(view(scale=20.5)),
        head(view(bias=noise(3, seed=99))),
        head(rows=(Row("hard exudates"), *ROWS[1:])),
        head(judges=(replace(JUDGES[0], operating_point="high-sensitivity"),)),
        head(judges=(replace(JUDGES[0], c=0.0),)),
    ]
    assert len({head().digest, *(other.digest for other in changed)}) == 6


def test_the_bytes_of_a_head_never_change_with_a_release():
    """Results name heads by digest: writing the same head differently would orphan them."""
    tiny = ScoreHead(
        (View("any", np.eye(2, dtype=np.float32), np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 10.0),),
        (Row("drusen"), Row("a healthy macula", "negative")),
        (Judge("drusen", "finding", 0, (1,), (0,), {"balanced": 0.5}, "balanced"),),
        Provenance(Digest("e" * 64), Digest("f" * 64), "text"),
    )
    assert tiny.digest == "70bfd1cab64c215e2790712c97f1a1682bc0ae31f83dc7d335515260756497a7"


def test_any_safetensors_reader_can_read_it(tmp_path):
    path = head().save(tmp_path)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert "harte Exsudate" in file.metadata()["eyestream"]
        np.testing.assert_array_equal(file.get_tensor("any.prototypes"), noise(3, 4))


def test_saving_twice_changes_nothing(tmp_path):
    first = head().save(tmp_path).stat()
    assert head().save(tmp_path).stat().st_mtime_ns == first.st_mtime_ns
    assert len(list(tmp_path.iterdir())) == 1


def test_an_altered_file_is_refused(tmp_path):
    path = head().save(tmp_path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="was altered"):
        ScoreHead.load(path)


def test_a_file_under_another_digest_than_expected_is_refused(tmp_path):
    path = head().save(tmp_path)
    with pytest.raises(Misconfigured, match="was altered"):
        ScoreHead.load(path, expected=Digest("0" * 64))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"none\.safetensors cannot be read"):
        ScoreHead.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"hello" * 40])
def test_a_file_that_is_no_head_is_refused(tmp_path, content):
    path = tmp_path / "head.safetensors"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="not a ScoreHead"):
        ScoreHead.load(path)


def test_a_head_without_one_of_its_arrays_is_refused(tmp_path):
    tensors, metadata = files.unpack(head().to_bytes())
    del tensors["any.bias"]
    path = tmp_path / "head.safetensors"
    path.write_bytes(files.pack(tensors, metadata))
    with pytest.raises(Misconfigured, match=r"not a ScoreHead.*any\.bias"):
        ScoreHead.load(path)


def with_nan():
    array = noise(3, 4)
    array[1, 1] = np.nan
    return array


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: head(view("left")), "so that every eye has one"),
        (lambda: head(view("left"), view("right")), "so that every eye has one"),
        (lambda: head(view(), view()), "so that every eye has one"),
        (lambda: head(view(prototypes=with_nan())), "not finite"),
        (lambda: head(view(prototypes=noise(3, 4).astype(np.float64))), "float64, not float32"),
        (lambda: head(view(prototypes=noise(2, 4))), "prototypes is [2, 4], not [3, 4]"),
        (lambda: head(view(prototypes=np.float32(3.0))), "prototypes is []"),
        (lambda: head(view(bias=noise(2))), "bias is [2], not [3]"),
        (lambda: head(view(pooling=noise(2, 2))), "pooling is [2, 2], not [2, 3]"),
        (lambda: head(view(projection=noise(3, 6))), "projection is [3, 6], not [4, 6]"),
        (lambda: head(view(adapter=Adapter(noise(2, 4), noise(4, 3), 0.2))), "adapter.up is [4, 3], not [4, 2]"),
        (lambda: head(view(cache=Cache(noise(5, 4), noise(5, 3), 1.0, 1.0))), "cache.values is [5, 3], not [5, 2]"),
        (lambda: head(view(scale=float("inf"))), "must be finite"),
        (
            lambda: head(view("patient"), view("left"), view("right", projection=noise(4, 7))),
            "disagree on the length",
        ),
        (
            lambda: head(view("patient"), view("left"), view("right", pooling=noise(3, 3), cache=None)),
            "disagree on the length of an embedding or on the classes",
        ),
        (lambda: head(view(bias=noise(3, 1))), "bias is [3, 1]: rows and columns expected"),
        (lambda: head(view(pooling=noise(0, 3), cache=None)), "pooling is [0, 3]"),
        (lambda: head(view(adapter=Adapter(noise(2, 3), noise(4, 2), 0.2))), "adapter.down is [2, 3], not [2, 4]"),
        (lambda: head(view(cache=Cache(noise(5, 3), noise(5, 2), 1.0, 1.0))), "cache.keys is [5, 3], not [5, 4]"),
        (lambda: head(view(cache=Cache(noise(5, 4), noise(4, 2), 1.0, 1.0))), "cache.values is [4, 2], not [5, 2]"),
        (lambda: head(view(adapter=Adapter(noise(2, 4), noise(4, 2), float("nan")))), "must be finite"),
        (lambda: head(view(cache=Cache(noise(5, 4), noise(5, 2), float("inf"), 1.0))), "must be finite"),
        (lambda: head(view(cache=Cache(noise(5, 4), noise(5, 2), 1.0, float("nan")))), "must be finite"),
        (lambda: head(judges=(replace(JUDGES[0], positive=-1),)), "not among the 2"),
        (lambda: head(judges=(replace(JUDGES[0], against=(2,)),)), "not among the 2"),
        (lambda: head(judges=(replace(JUDGES[0], rows=(0, -1)),)), "rows are not among the 3"),
        (lambda: head(judges=(replace(JUDGES[0], thresholds={"balanced": 0.5, "x": 0.0}),)), "outside 0..1"),
        (lambda: head(judges=(replace(JUDGES[0], thresholds={"balanced": float("nan")}),)), "outside 0..1"),
        (lambda: head(judges=(replace(JUDGES[0], c=float("inf")),)), "calibration is not finite"),
        (lambda: head(judges=()), "there must be one"),
        (lambda: head(judges=JUDGES * 2), "judged once"),
        (lambda: head(judges=(replace(JUDGES[0], positive=2),)), "not among the 2"),
        (lambda: head(judges=(replace(JUDGES[0], against=(0,)),)), "competes with itself"),
        (lambda: head(judges=(replace(JUDGES[0], rows=(3,)),)), "rows are not among the 3"),
        (lambda: head(judges=(replace(JUDGES[0], rows=()),)), "rows are not among the 3"),
        (lambda: head(judges=(replace(JUDGES[0], operating_point="x"),)), "no threshold for its operating point 'x'"),
        (lambda: head(judges=(replace(JUDGES[0], thresholds={"balanced": 1.2}),)), "outside 0..1"),
        (lambda: head(judges=(replace(JUDGES[0], a=float("nan")),)), "calibration is not finite"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(make, said):
    with pytest.raises(Misconfigured) as caught:
        make()
    assert said in str(caught.value)
