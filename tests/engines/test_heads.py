"""ScoreHeads against what the originals compute: adapters, probes, classifiers, zero-shot texts of three views."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.scoring import logits, probabilities
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.families import clip, octcube, visionunite, vit
from eyestream_engines.heads import fewshot, parity, published, zeroshot
from eyestream_engines.heads.classes import Classes, linear, named
from eyestream_engines.spec import EncoderFile
from eyestream_engines.texts.towers import Towers, unit

ORIGIN = Provenance(encoder="e" * 64, preprocessing="f" * 64, kind="probe")


def noise(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def softmax(z):
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_flairs_adapters_are_the_originals():
    case = Case.open(PARITY / parity.CASE)
    found, stored = parity.arrays(case), case.expected()
    assert found.keys() == stored.keys()
    for name, wanted in stored.items():
        np.testing.assert_allclose(found[name], wanted, atol=5e-6, err_msg=name)


def test_the_adapters_case_is_read_like_any_other():
    readings = list(parity.readings(Case.open(PARITY / parity.CASE)))
    assert len(readings) == 9
    assert all(reading.passed for reading in readings)


def test_another_seed_gives_other_numbers():
    one, other = (parity.arrays(Case.open(PARITY / parity.CASE, seed=seed)) for seed in (0, 1))
    assert all(np.abs(one[name] - other[name]).max() > 1e-4 for name in one)


def test_the_octcube_classifiers_pairs_are_its_probabilities():
    encoder = EncoderFile.read(PARITY / "octcube_toy" / "encoder.toml")
    case = Case.open(PARITY / "octcube_toy")
    head = published.head(encoder, case.tensors(), "e" * 64)
    stored = case.expected()
    np.testing.assert_allclose(logits(head.views[0], stored["embedding"]), stored["logits"], atol=1e-5)
    np.testing.assert_allclose(probabilities(head, stored["embedding"]).probabilities, stored["probability"], atol=2e-6)
    assert [judge.condition for judge in head.judges] == list(published.OCTCUBE)


def test_visionunites_signs_are_read_off_the_end_of_its_token():
    stored = Case.open(PARITY / "visionunite").expected()
    head = published.head(EncoderFile.load("visionunite"), {}, "e" * 64)
    found = probabilities(head, stored["embedding"]).probabilities
    np.testing.assert_allclose(found, stored["signs"][:, :, 1], atol=2e-6)
    assert [judge.condition for judge in head.judges] == list(visionunite.SIGNS)


def test_a_fine_tuned_retfounds_layer_is_its_logits():
    encoder = EncoderFile.load("retfound-classifier")
    case = Case.open(PARITY / "retfound_finetuned")
    weights = {name: value for name, value in case.tensors().items() if name.startswith("head.")}
    stored = case.expected()
    labels = [f"grade-{place}" for place in range(len(weights["head.bias"]))]
    head = published.head(encoder, weights, "e" * 64, labels=labels)
    np.testing.assert_allclose(logits(head.views[0], stored["embedding"]), stored["logits"], atol=1e-5)
    found = probabilities(head, stored["embedding"]).probabilities
    np.testing.assert_allclose(found, softmax(stored["logits"]), atol=2e-6)


def test_a_fine_tuned_visionfms_last_layer_is_its_logits():
    encoder = EncoderFile.load("visionfm-fundus-classifier")
    case = Case.open(PARITY / "visionfm_finetuned")
    weights = {f"head.{name.removeprefix('module.')}": value for name, value in case.tensors("classifier_keys").items()}
    stored = case.expected()
    head = published.head(encoder, weights, "e" * 64, labels=("normal", "suspect", "glaucoma"))
    layers = vit.classifier(encoder, weights)
    with torch.inference_mode():
        served = layers[:-1](torch.from_numpy(stored["embedding"])).numpy()
    assert served.shape[1] == encoder.output.dim == head.dim
    np.testing.assert_allclose(logits(head.views[0], served), stored["logits"], atol=1e-5)


def test_labels_that_do_not_fit_the_classifier_are_refused():
    weights = {"head.weight": torch.zeros(5, 1024), "head.bias": torch.zeros(5)}
    with pytest.raises(Misconfigured, match="5 classes and 2 labels"):
        published.head(EncoderFile.load("retfound-classifier"), weights, "e" * 64, labels=("a", "b"))
    with pytest.raises(Misconfigured, match="no classifier"):
        published.head(EncoderFile.load("flair"), {}, "e" * 64)
    with pytest.raises(Misconfigured, match="twice"):
        named(("a", "a"))
    with pytest.raises(Misconfigured, match="need 4 rows"):
        linear(noise(2, 8), None, Classes(("a", "b"), "pairs"), ORIGIN)


def test_a_probe_says_what_scikit_learn_says():
    from sklearn.linear_model import LogisticRegression

    x, labels = noise(60, 16), np.arange(60) % 3
    x[:, :3] += 2 * np.eye(3)[labels]
    head = fewshot.probe(x, labels, named(("a", "b", "c")), ORIGIN)
    fitted = LogisticRegression(C=0.316, class_weight="balanced", max_iter=1000, random_state=0).fit(x, labels)
    query = noise(7, 16, seed=2)
    np.testing.assert_allclose(probabilities(head, query).probabilities, fitted.predict_proba(query), atol=2e-6)
    two = fewshot.probe(x, (labels > 0).astype(int), named(("without", "with")), ORIGIN)
    fitted = LogisticRegression(C=0.316, class_weight="balanced", max_iter=1000, random_state=0).fit(x, labels > 0)
    found = probabilities(two, query).probabilities
    np.testing.assert_allclose(found[:, 0], fitted.predict_proba(query)[:, 1], atol=2e-6)
    assert [judge.condition for judge in two.judges] == ["with"]


def test_a_prototype_is_the_direction_of_its_pictures():
    support = noise(6, 8)
    labels = np.array([0, 0, 0, 1, 1, 1])
    head = fewshot.prototypes(support, labels, named(("a", "b")), ORIGIN, scale=20.0)
    rows = support / np.linalg.norm(support, axis=1, keepdims=True)
    means = np.stack([rows[:3].mean(0), rows[3:].mean(0)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    query = noise(4, 8, seed=3)
    cosines = query @ means.T / np.linalg.norm(query, axis=1, keepdims=True)
    np.testing.assert_allclose(logits(head.views[0], query), 20 * cosines, atol=1e-5)
    with pytest.raises(Misconfigured, match="'c'"):
        fewshot.prototypes(support, labels, named(("a", "b", "c")), ORIGIN, scale=20.0)


def test_tip_remembers_only_classes_that_the_head_has():
    head = linear(noise(3, 8), None, named(("a", "b", "c")), ORIGIN, l2=True)
    with pytest.raises(Misconfigured, match="3 classes"):
        fewshot.tip_adapter(head, noise(4, 8), np.array([0, 1, 2, 3]))


def test_a_head_of_each_kind_survives_its_file(tmp_path):
    head = linear(noise(3, 8), noise(3), named(("a", "b", "c")), ORIGIN, l2=True)
    for made in (
        head,
        fewshot.clip_adapter(head, noise(4, 8), noise(8, 4)),
        fewshot.tip_adapter(head, noise(4, 8), np.array([0, 1, 2, 0])),
    ):
        again = ScoreHead.load(made.save(tmp_path))
        assert again.digest == made.digest
        np.testing.assert_array_equal(logits(again.views[0], noise(2, 8)), logits(made.views[0], noise(2, 8)))


class Told(torch.nn.Module):
    """A text tower that reads letters: enough to tell phrases apart."""

    def __init__(self, seed):
        super().__init__()
        self.table = torch.randn(600, 512, generator=torch.Generator().manual_seed(seed))

    def forward(self, ids, mask):
        return unit((self.table[ids] * mask[..., None]).sum(1))


def test_ret_clips_three_views_ask_their_own_tower_and_map(tmp_path):
    letters = [chr(place) for place in range(ord("a"), ord("z") + 1)]
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(lines) + "\n")
    encoder = EncoderFile.load("ret-clip")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    told = encoder.wording.model_copy(update={"vocabulary_sha256": sha256})
    encoder = encoder.model_copy(update={"wording": told})
    views = ("patient", "left", "right")
    towers = Towers(
        {name: Told(seed) for seed, name in enumerate(views)}, dict(zip(views, (10.0, 20.0, 30.0), strict=True))
    )
    weights = {
        "global_feature_mapping.weight": torch.from_numpy(noise(512, 1024, seed=4)),
        "left_feature_mapping.weight": torch.from_numpy(noise(512, 512, seed=5)),
        "right_feature_mapping.weight": torch.from_numpy(noise(512, 512, seed=6)),
    }
    programme = Programme.builtin("demo")
    maps = clip.maps(encoder, weights)
    head = zeroshot.of_towers(encoder, towers, "e" * 64, maps=maps, programme=programme, vocabulary=file)
    assert [view.name for view in head.views] == list(views)
    assert [view.scale for view in head.views] == [10.0, 20.0, 30.0]
    x = noise(2, 512, seed=7)
    left, right = (
        weights["global_feature_mapping.weight"].numpy()[:, :512],
        weights["global_feature_mapping.weight"].numpy()[:, 512:],
    )
    mapped = x @ left.T + x @ right.T
    mapped /= np.linalg.norm(mapped, axis=1, keepdims=True)
    patient = head.views[0]
    np.testing.assert_allclose(logits(patient, x), 10 * mapped @ (patient.pooling @ patient.prototypes).T, atol=1e-4)
    assert np.abs(head.views[1].prototypes - patient.prototypes).max() > 0.01
    both = probabilities(head, np.repeat(x[:1], 3, axis=0), lateralities=["U", "L", "R"]).probabilities
    assert len({tuple(row) for row in both}) == 3


def test_a_text_side_that_answers_everything_alike_is_refused(tmp_path):
    class Deaf(torch.nn.Module):
        def forward(self, ids, mask):
            return unit(torch.ones(len(ids), 512))

    file = tmp_path / "vocab.txt"
    file.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    encoder = EncoderFile.load("vilref")
    told = encoder.wording.model_copy(update={"vocabulary_sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
    encoder = encoder.model_copy(update={"wording": told})
    towers = Towers({"any": Deaf()}, {"any": 10.0})
    with pytest.raises(Misconfigured, match="the same"):
        zeroshot.of_towers(encoder, towers, "e" * 64, maps={}, programme=Programme.builtin("demo"), vocabulary=file)


def test_octcube_without_a_classifier_has_none():
    encoder = EncoderFile.load("octcube")
    assert octcube.classifier(encoder, {}) is None
