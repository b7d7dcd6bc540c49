from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from eyestream.apps.bank import commands, served
from eyestream.banks.shelf import Shelf
from eyestream.decoding import Preprocessing
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import digest

ENCODER, PREPROCESSING = digest("encoder"), digest("preprocessing")
ROWS, DIM = 513, 24


@pytest.fixture
def tower(tmp_path):
    """A text tower small enough to read: the sum of the letters' random vectors, brought to length 1."""
    folder = tmp_path / "tower"
    folder.mkdir()
    table = np.random.default_rng(4).standard_normal((ROWS, DIM)).astype(np.float32)
    table[0] = 0
    nodes = [
        helper.make_node("Gather", ["table", "features"], ["letters"]),
        helper.make_node("ReduceSum", ["letters", "axes"], ["text"], keepdims=0),
        helper.make_node("LpNormalization", ["text"], ["vector"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("features", TensorProto.INT64, ["texts", "words", "width"])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["texts", DIM])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.asarray([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "text.onnx")
    vocabulary = {"words": [], "buckets": 512, "shortest": 2, "longest": 4, "max_words": 40, "max_features": 64}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.fixture
def run(tmp_path):
    def call(*arguments):
        return CliRunner().invoke(commands, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def built(run, tower, tmp_path):
    def call(programme="demo", *more):
        digests = ("--encoder-digest", ENCODER, "--preprocessing-digest", PREPROCESSING)
        return run("build", programme, "--text-tower", tower, *digests, "--shelf", tmp_path / "banks", *more)

    return call


def edited(tmp_path, old, new):
    path = tmp_path / "mine.toml"
    path.write_text(Programme.builtin("demo").text.replace(old, new))
    return path


def test_a_bank_is_built_published_and_put_into_service(built, tmp_path):
    result = built("demo", "--activate")
    assert result.exit_code == 0, result.output
    bank = Shelf(tmp_path / "banks").open(ENCODER, PREPROCESSING)["demo"]
    assert bank.head.digest in result.output
    assert bank.programme.digest == Programme.builtin("demo").digest


def test_a_bank_built_without_activate_says_how_to_serve_it(built, run, tmp_path):
    output = built().output
    assert Shelf(tmp_path / "banks").open(ENCODER, PREPROCESSING) == {}
    command = output.split("eyestream bank ")[1].split()
    assert run(*command, "--shelf", tmp_path / "banks").exit_code == 0
    assert list(Shelf(tmp_path / "banks").open(ENCODER, PREPROCESSING)) == ["demo"]


def test_another_word_makes_another_bank_and_rollback_brings_the_first_back(built, run, tmp_path):
    built("demo", "--activate")
    first = Shelf(tmp_path / "banks").current("demo").head.digest
    built(edited(tmp_path, '"tiny red dots"', '"pinpoint red spots"'), "--activate")
    second = Shelf(tmp_path / "banks").current("demo").head.digest
    assert first != second
    listed = json.loads(run("list", "--json", "--shelf", tmp_path / "banks").output)
    assert [edition["head"] for edition in listed["demo"]] == [first, second]
    assert first in run("rollback", "demo", "--shelf", tmp_path / "banks").output
    assert Shelf(tmp_path / "banks").current("demo").head.digest == first


def test_show_tells_phrases_and_origin_and_can_print_the_programme(built, run, tmp_path):
    built("demo", "--activate")
    shown = run("show", "demo", "--shelf", tmp_path / "banks").output
    assert ENCODER in shown
    assert "tiny red dots" in shown
    assert run("show", "demo", "--toml", "--shelf", tmp_path / "banks").output == Programme.builtin("demo").text


def test_what_is_not_served_cannot_be_shown(run, tmp_path):
    result = run("show", "demo", "--shelf", tmp_path / "banks")
    assert isinstance(result.exception, Misconfigured)


def test_check_names_file_and_line_of_a_fault(run, tmp_path):
    path = edited(tmp_path, '"tiny red dots"', '"microaneurysms"')
    error = run("check", path).exception
    assert isinstance(error, Misconfigured)
    line = 1 + path.read_text().splitlines().index(
        'positive = ["microaneurysms", "microaneurysms", "small round red spots"]'
    )
    assert f"mine.toml:{line}: microaneurysms: 'microaneurysms' stands twice" in str(error)


def test_check_tells_what_is_not_calibrated_and_with_a_tower_what_is_alike(run, tower):
    plain = run("check", "diabetic-eye-screening")
    assert plain.exit_code == 0
    assert "no fault found" in plain.output
    assert run("check", "demo", "--text-tower", tower).exit_code == 0


def test_a_phrase_can_be_tried_without_a_picture(run, tower):
    result = run("try", "tiny red dots", "--text-tower", tower)
    assert result.exit_code == 0, result.output
    assert "tiny red dots" in result.output
    assert "microaneurysms" in result.output


def test_a_phrase_the_tower_cannot_read_is_told(run, tower):
    assert isinstance(run("try", "???", "--text-tower", tower).exception, Misconfigured)


def test_built_in_programmes_are_listed_and_printed(run):
    assert "diabetic-eye-screening" in run("builtin").output.split()
    assert run("builtin", "demo").output == Programme.builtin("demo").text


@pytest.mark.parametrize("digests", [(), ("--encoder-digest", "abc", "--preprocessing-digest", PREPROCESSING)])
def test_the_encoder_must_be_named_in_full(run, tower, tmp_path, digests):
    result = run("build", "demo", "--text-tower", tower, "--shelf", tmp_path / "banks", *digests)
    assert isinstance(result.exception, Misconfigured)
    assert "--encoder-digest" in str(result.exception)


def config(tmp_path, **parameters):
    folder = tmp_path / "models" / "demo"
    folder.mkdir(parents=True)
    lines = [
        f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'
        for key, value in parameters.items()
    ]
    (folder / "config.pbtxt").write_text("\n".join(['name: "demo"', *lines]))
    return tmp_path / "models"


def test_the_encoder_is_read_from_what_triton_loads(run, tower, tmp_path):
    stated = {"eyestream.digest": ENCODER, "eyestream.preprocessing": Preprocessing(crop="field-of-view").to_json()}
    models = config(tmp_path, **stated)
    expected = ENCODER, Preprocessing(crop="field-of-view").digest
    assert served(models, "demo") == expected
    where = ("--model-repository", models, "--shelf", tmp_path / "banks", "--activate")
    assert run("build", "demo", "--text-tower", tower, *where).exit_code == 0
    assert list(Shelf(tmp_path / "banks").open(*expected)) == ["demo"]


def test_a_model_that_is_no_engine_of_ours_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="render it with eyestream-engines"):
        served(config(tmp_path), "demo")
    with pytest.raises(Misconfigured, match=r"config\.pbtxt cannot be read"):
        served(tmp_path / "models", "other")
