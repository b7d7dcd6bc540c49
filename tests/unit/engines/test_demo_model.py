"""The committed demo model, measured as it is served: ONNX Runtime, prompts, eyes it never saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from eyestream.banks.onnx import OnnxTextEncoder
from eyestream.records import Vectors
from eyestream.testing.eyes import Eye
from eyestream.testing.eyes.captions import phrasings
from eyestream.testing.eyes.claims import Claim, holds
from eyestream_engines.demo.evaluate import graph
from eyestream_engines.demo.evaluating import auroc, evaluate, prompt
from eyestream_engines.demo.pictures import eye_of, picture_of, spec
from eyestream_engines.inference import embed
from eyestream_engines.spec import SHELF

GRAPH = graph()
TEXT = SHELF / "demo" / "text"
GOLDEN = SHELF / "demo" / "golden.json"
UNSEEN = 200


@pytest.fixture(scope="module")
def unseen() -> tuple[list[Eye], Vectors]:
    eyes = [eye_of("test", index) for index in range(UNSEEN)]
    return eyes, embed(GRAPH, np.stack([picture_of("test", index) for index in range(UNSEEN)]))


def test_prompts_find_every_condition_in_eyes_never_trained_on(unseen: tuple[list[Eye], Vectors]) -> None:
    rows = evaluate(OnnxTextEncoder(TEXT), *unseen)
    assert np.mean([row.prompt for row in rows]) >= 0.93
    assert min(row.prompt for row in rows) >= 0.8
    assert np.mean([row.held_out for row in rows]) >= 0.93
    assert min(row.worst for row in rows) >= 0.8


def test_another_prompt_finds_another_condition(unseen: tuple[list[Eye], Vectors]) -> None:
    eyes, vectors = unseen
    text = OnnxTextEncoder(TEXT)
    judged = np.array([eye.quality is None for eye in eyes])
    for name, other in (("haemorrhages", "drusen"), ("drusen", "exudates"), ("cataract", "haemorrhages")):
        labels = np.array([name in eye.findings for eye in eyes])[judged]
        own = auroc(vectors[judged] @ prompt(text, phrasings(Claim("finding", name))[:12]), labels)
        wrong = auroc(vectors[judged] @ prompt(text, phrasings(Claim("finding", other))[:12]), labels)
        assert own > wrong + 0.15


def test_a_prompt_that_denies_a_finding_ranks_the_other_way(unseen: tuple[list[Eye], Vectors]) -> None:
    eyes, vectors = unseen
    text = OnnxTextEncoder(TEXT)
    judged = np.array([eye.quality is None for eye in eyes])
    labels = np.array([bool(holds(Claim("finding", "exudates"), eye)) for eye in eyes])[judged]
    assert auroc(vectors[judged] @ prompt(text, ["a fundus photograph without exudates"]), labels) < 0.25


def test_the_committed_graph_gives_the_committed_embedding() -> None:
    wanted = json.loads(GOLDEN.read_text())
    pixels = np.random.default_rng(wanted["seed"]).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    assert wanted["checkpoint"] == spec().digest()
    assert np.allclose(embed(GRAPH, pixels)[0], wanted["embedding"], atol=2e-3)


def test_an_embedding_does_not_depend_on_its_batch_mates(unseen: tuple[list[Eye], Vectors]) -> None:
    pixels = np.stack([picture_of("test", index) for index in range(5)])
    assert np.allclose(embed(GRAPH, pixels, batch=1), unseen[1][:5], atol=2e-3)
    assert np.allclose(np.linalg.norm(unseen[1], axis=1), 1, atol=2e-3)


def test_the_graph_takes_and_gives_what_the_worker_sends_and_reads() -> None:
    graph = onnx.load(GRAPH).graph
    (taken,), (given,) = graph.input, graph.output
    assert (taken.name, taken.type.tensor_type.elem_type) == ("pixels", onnx.TensorProto.UINT8)
    assert (given.name, given.type.tensor_type.elem_type) == ("embedding", onnx.TensorProto.FLOAT16)
    assert taken.type.tensor_type.shape.dim[0].dim_param
    assert [d.dim_value for d in taken.type.tensor_type.shape.dim[1:]] == [256, 256, 3]


@pytest.mark.parametrize("path", [GRAPH, TEXT / "text.onnx"], ids=lambda path: path.name)
def test_a_committed_graph_tells_nothing_of_the_machine_that_made_it(path: Path) -> None:
    content = path.read_bytes()
    assert not any(word in content for word in (b"site-packages", b"/home/", b"/root/", b".py"))


def test_all_files_of_the_model_are_at_most_twelve_megabytes() -> None:
    files = [GRAPH, spec().checkpoint_path, *TEXT.iterdir()]
    assert sum(file.stat().st_size for file in files) <= 12_000_000


def test_an_area_under_the_curve_counts_ties_half() -> None:
    labels = np.array([True, True, False, False])
    assert auroc(np.array([3.0, 2.0, 1.0, 0.0]), labels) == 1.0
    assert auroc(np.array([0.0, 1.0, 2.0, 3.0]), labels) == 0.0
    assert auroc(np.array([1.0, 1.0, 1.0, 1.0]), labels) == 0.5
    assert auroc(np.array([2.0, 1.0, 1.0, 0.0]), labels) == 0.875
