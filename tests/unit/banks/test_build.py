from __future__ import annotations

import numpy as np
import pytest

from eyestream.banks.build import build, closest
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import digest
from eyestream.scoring import probabilities, score
from eyestream.testing.texts import FakeTextEncoder

ORIGIN = {"encoder_digest": digest("encoder"), "preprocessing_digest": digest("preprocessing")}
TOWER = FakeTextEncoder(32)

TEXT = """schema_version = 1
name = "small"
title = "Small"
[scoring]
scale = 12.0
renormalise = true
templates = ["{}", "a picture of {}"]
[[urgencies]]
name = "routine"
title = "Routine"
rank = 1
within_days = 91
[[groups]]
name = "grade"
rest = ["no retinopathy"]
[[conditions]]
id = "drusen"
title = "Drusen"
positive = ["drusen", "pale spots"]
negative = ["a healthy macula"]
calibration = { a = 0.5, b = -0.25 }
thresholds = { balanced = 0.6, high-sensitivity = 0.3 }
[[conditions]]
id = "mild"
title = "Mild"
group = "grade"
positive = ["mild retinopathy"]
[[conditions]]
id = "severe"
title = "Severe"
group = "grade"
positive = ["severe retinopathy", "many haemorrhages"]
operating_point = "high-sensitivity"
thresholds = { high-sensitivity = 0.2 }
[[conditions]]
id = "lone"
title = "Lone"
positive = ["a lone phrase"]
templates = ["just {}"]
[[conditions]]
id = "blur"
title = "Out of focus"
role = "quality"
positive = ["a blurred picture"]
negative = ["a sharp picture"]
"""


def made(text=TEXT, tower=TOWER, **more):
    return build(Programme.parse(text), tower, **ORIGIN, **more)


def column(head, x, name):
    place = [judge.condition for judge in head.judges].index(name)
    return probabilities(head, x).probabilities[:, place]


def pictures(count=6):
    noise = np.random.default_rng(3).standard_normal((count, 32)).astype(np.float32)
    return noise / np.linalg.norm(noise, axis=1, keepdims=True)


def ensemble(phrases, templates=("{}", "a picture of {}"), *, renormalise=True):
    vectors = TOWER.encode([template.format(phrase) for phrase in phrases for template in templates])
    mean = vectors.astype(float).mean(axis=0)
    return mean / np.linalg.norm(mean) if renormalise else mean


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_phrases_in_templates_become_the_usual_prompt_ensemble():
    x = pictures()
    margin = 12.0 * x @ (ensemble(["drusen", "pale spots"]) - ensemble(["a healthy macula"]))
    np.testing.assert_allclose(column(made(), x, "drusen"), sigmoid(0.5 * margin - 0.25), atol=1e-5)


def test_without_renormalising_classes_are_plain_means():
    x = pictures()
    text = TEXT.replace("renormalise = true", "renormalise = false")
    means = [ensemble(p, renormalise=False) for p in (["drusen", "pale spots"], ["a healthy macula"])]
    np.testing.assert_allclose(
        column(made(text), x, "drusen"), sigmoid(0.5 * 12.0 * x @ (means[0] - means[1]) - 0.25), atol=1e-5
    )


def test_a_group_competes_with_its_members_and_the_phrases_for_none_of_them():
    x = pictures()
    classes = [["mild retinopathy"], ["severe retinopathy", "many haemorrhages"], ["no retinopathy"]]
    z = np.exp(12.0 * x @ np.stack([ensemble(phrases) for phrases in classes]).T)
    np.testing.assert_allclose(column(made(), x, "mild"), z[:, 0] / z.sum(axis=1), atol=1e-5)
    np.testing.assert_allclose(column(made(), x, "severe"), z[:, 1] / z.sum(axis=1), atol=1e-5)


def test_a_group_without_phrases_for_none_of_them_competes_with_its_members_alone():
    x = pictures()
    text = TEXT.replace('rest = ["no retinopathy"]\n', "")
    mild, severe = ensemble(["mild retinopathy"]), ensemble(["severe retinopathy", "many haemorrhages"])
    np.testing.assert_allclose(column(made(text), x, "mild"), sigmoid(12.0 * x @ (mild - severe)), atol=1e-5)
    assert len(made(text).views[0].pooling) == len(made().views[0].pooling) - 1


def test_a_conditions_own_templates_are_those_of_its_negative_phrases_too():
    x = pictures()
    text = TEXT.replace('templates = ["just {}"]', 'templates = ["just {}"]\nnegative = ["nothing"]')
    margin = 12.0 * x @ (ensemble(["a lone phrase"], ["just {}"]) - ensemble(["nothing"], ["just {}"]))
    np.testing.assert_allclose(column(made(text), x, "lone"), sigmoid(margin), atol=1e-5)


def test_each_phrase_is_a_row_that_says_for_which_side_it_speaks():
    assert [(row.prompt, row.side) for row in made().rows] == [
        ("drusen", "positive"),
        ("pale spots", "positive"),
        ("mild retinopathy", "positive"),
        ("severe retinopathy", "positive"),
        ("many haemorrhages", "positive"),
        ("a lone phrase", "positive"),
        ("a blurred picture", "positive"),
        ("no retinopathy", "rest"),
        ("a healthy macula", "negative"),
        ("a sharp picture", "negative"),
    ]


def test_a_condition_alone_is_a_sigmoid_in_its_own_templates_with_the_bias():
    x = pictures()
    text = TEXT.replace("scale = 12.0", "scale = 12.0\nbias = -2.0")
    expected = sigmoid(12.0 * x @ ensemble(["a lone phrase"], ["just {}"]) - 2.0)
    np.testing.assert_allclose(column(made(text), x, "lone"), expected, atol=1e-5)


def test_a_picture_like_a_phrase_is_found_and_explained_by_it():
    (judgement,) = score(made(), TOWER.encode(["pale spots"]))
    found = judgement.findings[0]
    assert (found.condition, found.positive, found.prompt) == ("drusen", True, "pale spots")


def test_operating_points_and_calibration_are_the_programmes():
    judges = {judge.condition: judge for judge in made().judges}
    assert (judges["drusen"].threshold, judges["drusen"].a, judges["drusen"].c) == (0.6, 0.5, -0.25)
    assert (judges["severe"].threshold, judges["severe"].operating_point) == (0.2, "high-sensitivity")
    assert judges["blur"].role == "quality"


def test_the_head_says_where_it_comes_from():
    origin = made(tokenizer="words", padding="none").provenance
    assert (origin.encoder, origin.preprocessing) == (digest("encoder"), digest("preprocessing"))
    assert (origin.text_tower, origin.programme, origin.kind) == (TOWER.digest, "small", "text")
    assert (origin.tokenizer, origin.padding) == ("words", "none")
    assert origin.templates == ("{}", "a picture of {}", "just {}")


def test_every_phrase_of_the_programme_keeps_its_words():
    assert {row.prompt for row in made().rows} >= {"drusen", "pale spots", "a healthy macula", "no retinopathy"}


def test_a_phrase_the_tower_cannot_read_is_the_programmes_fault():
    def refuse(_):
        raise ValueError("too many words")

    with pytest.raises(Misconfigured, match="cannot read a phrase of the programme: too many words"):
        made(tower=Tower(refuse))


def test_the_nearest_rival_of_each_condition_is_measured():
    near = closest(made())
    assert set(near) == {"drusen", "mild", "severe", "blur"}
    rivals = [ensemble(["severe retinopathy", "many haemorrhages"]), ensemble(["no retinopathy"])]
    assert near["mild"] == pytest.approx(max(ensemble(["mild retinopathy"]) @ rival for rival in rivals), abs=1e-5)


def test_building_twice_gives_the_same_digest_and_another_word_another():
    assert made().digest == made().digest
    assert made(TEXT.replace("pale spots", "pale dots")).digest != made().digest
    assert made(TEXT.replace('title = "Drusen"', 'title = "Spots"')).digest == made().digest


def test_the_order_of_other_conditions_does_not_change_a_probability():
    x = pictures()
    lone = TEXT[TEXT.index('[[conditions]]\nid = "lone"') : TEXT.index('[[conditions]]\nid = "blur"')]
    moved = TEXT.replace(lone, "").replace('[[conditions]]\nid = "drusen"', lone + '[[conditions]]\nid = "drusen"')
    np.testing.assert_array_equal(column(made(moved), x, "severe"), column(made(), x, "severe"))


class Tower:
    """A text tower with a fault."""

    digest = digest("a tower")
    dim = 32

    def __init__(self, spoil, *, stripped=False):
        self.spoil, self.stripped = spoil, stripped

    def encode(self, texts):
        return self.spoil(TOWER.encode([text.replace(".", "") for text in texts] if self.stripped else texts))


def one_long(vectors):
    vectors[3] *= 1.01
    return vectors


def opposite(vectors):
    """The four texts of the first condition's two phrases cancel one another."""
    vectors[2:4] = -vectors[:2]
    return vectors


def one_nan(vectors):
    vectors[0, 0] = np.nan
    return vectors


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: np.repeat(v[:1], len(v), axis=0), "are the same"),
        (lambda v: 2 * v, "of length 1"),
        (one_long, "of length 1"),
        (opposite, "^drusen: its phrases point in opposite directions"),
        (one_nan, "all finite"),
        (lambda v: v[1:], "the text tower gave"),
        (lambda v: v[:, 1:], "the text tower gave"),
    ],
)
def test_a_tower_that_cannot_carry_the_programme_is_refused(spoil, said):
    with pytest.raises(Misconfigured, match=said):
        made(tower=Tower(spoil))


def test_rivals_are_compared_by_direction_where_classes_are_plain_means():
    text = TEXT.replace("renormalise = true", "renormalise = false")
    assert closest(made(text)) == pytest.approx(closest(made()), abs=1e-5)
    with pytest.raises(Misconfigured, match="'drusen' and 'no drusen' are the same"):
        made(
            text.replace('["a healthy macula"]', '["pale spots.", "drusen."]'), tower=Tower(lambda v: v, stripped=True)
        )
