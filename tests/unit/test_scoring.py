from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.records import Digest
from eyestream.scoring import Adapter, Cache, Judge, Row, View, probabilities, score

ORIGIN = Provenance(encoder=Digest("e" * 64), preprocessing=Digest("f" * 64), kind="probe")


def noise(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def judge(name, positive, against=(), *, rows=None, role="finding", threshold=0.5, a=1.0, c=0.0):
    return Judge(name, role, positive, tuple(against), rows or (positive,), {"balanced": threshold}, "balanced", a, c)


def identity_view(prototypes, *, name="any", scale=1.0, bias=None, pooling=None, **parts):
    rows = len(prototypes)
    return View(
        name=name,
        prototypes=prototypes.astype(np.float32),
        bias=np.zeros(rows, np.float32) if bias is None else np.asarray(bias, np.float32),
        pooling=np.eye(rows, dtype=np.float32) if pooling is None else np.asarray(pooling, np.float32),
        scale=scale,
        **parts,
    )


def head(*views, judges):
    rows = tuple(Row(f"phrase {index}") for index in range(len(views[0].prototypes)))
    return ScoreHead(tuple(views), rows, tuple(judges), ORIGIN)


def chances(scored, x, **options):
    return probabilities(scored, x, **options).probabilities


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_a_group_is_a_softmax_over_scaled_cosines():
    """As CLIP-like models are scored: 100 x cosine of class names, softmax over the classes."""
    t, x = unit(noise(5, 16)), unit(noise(7, 16, seed=2))
    judges = [judge(f"c{i}", i, [j for j in range(5) if j != i]) for i in range(5)]
    expected = softmax(100.0 * x.astype(float) @ t.T.astype(float))
    np.testing.assert_allclose(chances(head(identity_view(t, scale=100.0), judges=judges), x), expected, atol=1e-6)


def test_a_class_may_be_the_plain_mean_of_its_phrases():
    """As FLAIR is scored: class prototypes are means that are not brought back to length 1."""
    t, x = unit(noise(4, 16)), unit(noise(3, 16, seed=2))
    pooling = [[1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 0, 1]]
    prototypes = np.stack([t[:3].mean(axis=0), t[3]]).astype(float)
    expected = softmax(14.3 * x @ prototypes.T)
    scored = head(identity_view(t, scale=14.3, pooling=pooling), judges=[judge("a", 0, [1]), judge("b", 1, [0])])
    np.testing.assert_allclose(chances(scored, x), expected, atol=1e-6)


def test_a_pair_is_a_softmax_of_two_and_a_lone_class_a_sigmoid():
    """As VisionUnite's six pairs of logits, and one-row probes, are read; raw features, weights and biases."""
    w, b, x = noise(4, 8), noise(4, seed=3), 3 * noise(5, 8, seed=2)
    z = x.astype(float) @ w.T + b
    scored = head(identity_view(w, bias=b, l2=False), judges=[judge("a", 1, [0]), judge("b", 2), judge("c", 3, [2])])
    expected = np.stack([softmax(z[:, :2])[:, 1], 1 / (1 + np.exp(-z[:, 2])), softmax(z[:, 2:])[:, 1]], axis=1)
    np.testing.assert_allclose(chances(scored, x), expected, atol=1e-6)


def test_a_residual_adapter_bends_the_embedding_first():
    t, x = unit(noise(3, 8)), unit(noise(4, 8, seed=2))
    down, up = noise(2, 8, seed=3), noise(8, 2, seed=4)
    bent = unit(0.2 * np.maximum(np.maximum(x @ down.T, 0) @ up.T, 0) + 0.8 * x)
    view = identity_view(t, scale=20.0, adapter=Adapter(down, up, 0.2))
    scored = head(view, judges=[judge("a", 0, [1, 2])])
    np.testing.assert_allclose(chances(scored, x)[:, 0], softmax(20.0 * bent @ t.T)[:, 0], atol=1e-5)


def test_a_cache_adds_what_remembered_pictures_say():
    t, x, keys = unit(noise(3, 8)), unit(noise(4, 8, seed=2)), unit(noise(6, 8, seed=3))
    values = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    z = 100.0 * x @ t.T + 1.5 * np.exp(-(5.0 - 5.0 * x @ keys.T)) @ values
    view = identity_view(t, scale=100.0, cache=Cache(keys, values, 1.5, 5.0))
    scored = head(view, judges=[judge("a", 0, [1, 2]), judge("b", 1, [0, 2])])
    np.testing.assert_allclose(chances(scored, x), softmax(z)[:, :2], atol=1e-5)


def test_each_eye_goes_through_its_own_view():
    """As RET-CLIP is scored: three projections of one vector, three sets of prototypes and scales."""
    x = noise(3, 6, seed=9)
    views, expected = [], {}
    for seed, name in enumerate(("patient", "left", "right"), start=20):
        w, t = noise(4, 6, seed=seed), unit(noise(2, 4, seed=seed + 10))
        views.append(identity_view(t, name=name, scale=10.0 + seed, projection=w))
        expected[name] = softmax((10.0 + seed) * unit(x.astype(float) @ w.T) @ t.T)[:, 0]
    scored = head(*views, judges=[judge("a", 0, [1])])
    np.testing.assert_allclose(
        chances(scored, x, lateralities=["U", "L", "R"])[:, 0],
        [expected["patient"][0], expected["left"][1], expected["right"][2]],
        atol=1e-6,
    )
    np.testing.assert_allclose(chances(scored, x)[:, 0], expected["patient"], atol=1e-6)


@pytest.mark.parametrize("name", ["any", "patient"])
def test_a_head_of_one_view_scores_every_eye_through_it(name):
    t, x = unit(noise(2, 8)), unit(noise(4, 8, seed=2))
    scored = head(identity_view(t, name=name, scale=20.0), judges=[judge("a", 0, [1])])
    expected = softmax(20.0 * x.astype(float) @ t.T)[:, 0]
    np.testing.assert_allclose(chances(scored, x, lateralities=["R", "L", "U", "R"])[:, 0], expected, atol=1e-6)


def test_log_odds_tell_pictures_apart_that_are_both_certain():
    scored = head(identity_view(np.eye(2), scale=100.0, l2=False), judges=[judge("a", 0, [1], a=2.0, c=-3.0)])
    scores = probabilities(scored, np.asarray([[1, 0], [2, 0]], np.float32))
    assert scores.probabilities[:, 0].tolist() == [1.0, 1.0]
    np.testing.assert_allclose(scores.log_odds[:, 0], [197.0, 397.0])


def test_a_probability_has_six_decimals():
    scored = head(identity_view(np.eye(2), l2=False), judges=[judge("a", 0)])
    (told,) = chances(scored, np.asarray([[0.7, 0]], np.float32))[0]
    assert told == 0.668188


def test_calibration_is_platts_on_the_margin():
    t, x = unit(noise(2, 8)), unit(noise(4, 8, seed=2))
    margin = 30.0 * x.astype(float) @ (t[0] - t[1])
    scored = head(identity_view(t, scale=30.0), judges=[judge("a", 0, [1], a=0.4, c=-1.2)])
    np.testing.assert_allclose(chances(scored, x)[:, 0], 1 / (1 + np.exp(1.2 - 0.4 * margin)), atol=1e-5)


def test_the_loudest_of_its_own_prompts_is_named():
    t = np.eye(4, dtype=np.float32)
    pooling = [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    judges = [judge("a", 0, [1], rows=(0, 1)), judge("b", 1, [0], rows=(2, 3))]
    scored = head(identity_view(t, scale=5.0, pooling=pooling), judges=judges)
    first, second = score(scored, np.asarray([[0.1, 0.9, 0, 0.2], [0.9, 0.1, 0.5, 0.2]], np.float32))
    assert [finding.prompt for finding in first.findings] == ["phrase 1", "phrase 3"]
    assert [finding.prompt for finding in second.findings] == ["phrase 0", "phrase 2"]


def test_a_condition_of_few_prompts_names_one_of_its_own_beside_one_of_many():
    pooling = [[0.3, 0.3, 0.3, 0], [0, 0, 0, 1]]
    judges = [judge("a", 0, [1], rows=(0, 1, 2)), judge("b", 1, [0], rows=(3,))]
    scored = head(identity_view(np.eye(4), scale=5.0, pooling=pooling), judges=judges)
    (told,) = score(scored, np.asarray([[0.9, 0.1, 0.2, -0.9]], np.float32))
    assert [finding.prompt for finding in told.findings] == ["phrase 0", "phrase 3"]


def test_the_quality_condition_furthest_over_its_point_makes_a_picture_ungradable():
    t = np.eye(3, dtype=np.float32)
    judges = [
        judge("drusen", 0),
        judge("blur", 1, role="quality", threshold=0.9),
        judge("dark", 2, role="quality", threshold=0.6),
    ]
    scored = head(identity_view(t, scale=5.0, l2=False), judges=judges)
    x = np.asarray([[1, 0, 0], [1, 0.5, 0.4], [0, 0.6, 0]], np.float32)
    fine, dark, blurred = score(scored, x)
    assert [judgement.ungradable for judgement in (fine, dark, blurred)] == [None, "dark", "blur"]
    assert [finding.condition for finding in dark.findings] == ["drusen"]
    assert dark.findings[0].positive
    assert [finding.condition for finding in dark.quality] == ["blur", "dark"]


def test_a_finding_tells_the_operating_point_it_was_held_against():
    points = {"balanced": 0.5, "high-sensitivity": 0.2}
    judged = Judge("drusen", "finding", 0, (), (0,), points, "high-sensitivity")
    (judgement,) = score(head(identity_view(np.eye(2)), judges=[judged]), np.asarray([[-0.9, 0.1]], np.float32))
    assert (judgement.findings[0].threshold, judgement.findings[0].operating_point) == (0.2, "high-sensitivity")
    assert judgement.findings[0].positive


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_refused_and_named(poison):
    x = noise(4, 8)
    x[2, 3] = poison
    with pytest.raises(ValueError, match=r"\[2\] are not finite"):
        score(head(identity_view(noise(2, 8)), judges=[judge("a", 0)]), x)


@pytest.mark.parametrize("shape", [(3, 7), (8,), (1, 2, 8)])
def test_embeddings_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="this head reads"):
        score(head(identity_view(noise(2, 8)), judges=[judge("a", 0)]), noise(*shape))


def test_an_embedding_without_a_direction_is_refused():
    with pytest.raises(ValueError, match="length 0"):
        score(head(identity_view(noise(2, 8)), judges=[judge("a", 0)]), np.zeros((1, 8), np.float32))


def test_an_embedding_without_a_direction_is_refused_among_others():
    x = noise(3, 8)
    x[1] = 0
    with pytest.raises(ValueError, match="length 0"):
        score(head(identity_view(noise(2, 8)), judges=[judge("a", 0)]), x)


def test_no_pictures_have_no_judgements():
    assert score(head(identity_view(noise(2, 8)), judges=[judge("a", 0)]), np.zeros((0, 8), np.float32)) == []


def test_lateralities_must_be_as_many_as_pictures():
    with pytest.raises(ValueError, match="2 embeddings came with 1"):
        score(head(identity_view(noise(2, 8)), judges=[judge("a", 0)]), noise(2, 8), lateralities=["R"])


def test_extreme_scores_do_not_overflow():
    t = np.asarray([[1, 0], [-1, 0]], np.float32)
    scored = head(identity_view(t, scale=1e6), judges=[judge("a", 0, [1]), judge("b", 1)])
    (certain,) = score(scored, np.asarray([[1, 0]], np.float32))
    assert [finding.probability for finding in certain.findings] == [1.0, 0.0]
    assert not any(math.isnan(finding.probability) for finding in certain.findings)


def test_extreme_scores_against_groups_of_uneven_size_do_not_overflow():
    judges = [judge("a", 0, [1, 2]), judge("b", 1, [0]), judge("c", 2)]
    scored = head(identity_view(np.eye(3), scale=1e6, l2=False), judges=judges)
    x = np.asarray([[1, 0.5, 0.9], [0.5, 1, -1], [-1, -0.5, 0]], np.float32)
    assert chances(scored, x).tolist() == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.5]]


def test_an_adapter_of_raw_features_leaves_their_length_alone():
    down, up = np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)
    view = identity_view(np.eye(2), l2=False, adapter=Adapter(down, up, 0.5))
    scores = probabilities(head(view, judges=[judge("a", 0), judge("b", 1)]), np.asarray([[3, -4]], np.float32))
    np.testing.assert_allclose(scores.log_odds, [[3.0, -2.0]])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    n=st.integers(1, 70),
    dim=st.sampled_from([3, 17, 64, 512]),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_a_row_depends_on_its_own_embedding_only(n, dim, seed, data):
    """Bit for bit, through other neighbours, another place in the batch and another size of batch."""
    t, x = unit(noise(12, dim, seed=seed)), unit(noise(n, dim, seed=seed + 1))
    judges = [judge(f"c{i}", i, [j for j in range(6) if j != i]) for i in range(6)]
    judges += [judge(f"p{i}", i, [i + 3]) for i in range(6, 9)]
    scored = head(identity_view(t, scale=50.0), judges=judges)
    whole = score(scored, x)
    kept = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n))
    assert score(scored, x[kept]) == [whole[i] for i in kept]
    row = kept[0]
    strangers = unit(noise(n, dim, seed=seed + 2))
    strangers[row] = x[row]
    assert score(scored, strangers)[row] == whole[row]
