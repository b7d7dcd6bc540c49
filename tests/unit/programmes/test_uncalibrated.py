"""A programme without operating points: it asks what the calibrated one asks, and nothing follows from it."""

from __future__ import annotations

import dataclasses
import re

import pytest

from eyestream.banks.build import build
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme, available
from eyestream.programmes.uncalibrated import of_labels, uncalibrated
from eyestream.records import Finding, Picture
from eyestream.testing.texts import FakeTextEncoder
from eyestream.triage import UNDECIDED, decide

ORIGIN = {"encoder_digest": "e" * 64, "preprocessing_digest": "f" * 64}


def pictures(programme, probability):
    """Every field of both eyes, with that probability of every condition."""
    found = tuple(Finding(c.id, probability, c.thresholds["none"], "none", c.positive[0]) for c in programme.conditions)
    return [
        Picture(f"{eye}-{field}", eye, field, found, ungradable=None)
        for eye in "RL"
        for field in ("macula", "disc", "other")
    ]


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_no_score_refers_an_exam_and_none_clears_it(name, probability):
    programme = uncalibrated(Programme.builtin(name))
    decision = decide(programme, "exam", pictures(programme, probability))
    assert decision.outcome == "incomplete"
    assert decision.urgency == "none"
    assert decision.reasons == ()
    assert sum(UNDECIDED in note for note in decision.notes) == 2


def test_with_the_calibrated_programme_the_same_scores_do_refer():
    """So that the test above could fail."""
    programme = Programme.builtin("demo")
    told = [
        dataclasses.replace(finding, threshold=0.1) for finding in pictures(uncalibrated(programme), 1.0)[0].findings
    ]
    assert (
        decide(programme, "exam", [Picture("R-macula", "R", "macula", tuple(told), ungradable=None)]).outcome == "refer"
    )


def test_pictures_that_cannot_be_read_refer_nobody_either():
    text = uncalibrated(Programme.builtin("demo")).text
    strict = text + '\n[unreadable]\nurgency = "unused"\nrefer_after = 1\n'
    pictures = [Picture("one", "R", "macula", (), ungradable=None, unreadable="damaged")]
    assert decide(Programme.parse(strict.replace("decides = false\n", "")), "exam", pictures).outcome == "refer"
    assert decide(Programme.parse(strict), "exam", pictures).outcome != "refer"


@pytest.mark.parametrize("name", available())
def test_the_phrases_and_groups_are_the_programmes_own(name):
    calibrated = Programme.builtin(name)
    asked = uncalibrated(calibrated)
    assert asked.name == f"{name}-uncalibrated"
    assert asked.scoring.templates == calibrated.scoring.templates
    assert asked.groups == calibrated.groups
    for one, other in zip(asked.conditions, calibrated.conditions, strict=True):
        assert (one.id, one.positive, one.negative, one.group) == (
            other.id,
            other.positive,
            other.negative,
            other.group,
        )
        assert (one.calibration.a, one.calibration.b, one.urgency, one.role) == (1.0, 0.0, "none", "finding")


def test_all_that_makes_its_scores_and_how_long_they_are_kept_is_the_programmes_own():
    calibrated = Programme.parse("""
name = "mine"
title = "Mine"
[scoring]
scale = 14.3
bias = -2.5
renormalise = false
templates = ["a picture of {}", "{}"]
[[urgencies]]
name = "soon"
title = "Soon"
rank = 1
within_days = 28
[[conditions]]
id = "drusen"
title = "Drusen"
suggests = "macular degeneration"
positive = ["drusen", "\u201cpale\u201d \\\\ spots"]
negative = ["no drusen"]
templates = ["{} in a retina"]
urgency = "soon"
[retention]
results_days = 10
embeddings_days = 20
dead_letters_days = 3
""")
    asked = uncalibrated(calibrated)
    assert asked.scoring.model_dump(exclude={"operating_point"}) == calibrated.scoring.model_dump(
        exclude={"operating_point"}
    )
    assert asked.retention == calibrated.retention
    (one,), (other,) = asked.conditions, calibrated.conditions
    assert (one.suggests, one.positive, one.templates) == (other.suggests, other.positive, other.templates)


def test_a_head_is_built_of_it_like_any_other():
    programme = uncalibrated(Programme.builtin("demo"))
    head = build(programme, FakeTextEncoder(), **ORIGIN)
    assert {judge.condition for judge in head.judges} == {condition.id for condition in programme.conditions}
    assert all(judge.threshold > 0.99999 for judge in head.judges)


def test_the_text_it_is_written_in_reads_as_the_same_programme():
    programme = uncalibrated(Programme.builtin("diabetic-eye-screening"))
    assert Programme.parse(programme.text).digest == programme.digest


def test_labels_of_a_classifier_become_its_conditions():
    programme = of_labels("visionunite", "Six signs", ("cup-disc", "macular"))
    assert [condition.title for condition in programme.conditions] == ["Cup disc", "Macular"]
    assert not programme.decides
    assert (programme.retention.results_days, programme.retention.embeddings_days) == (30, 30)


@pytest.mark.parametrize("label", ["Macular", "cup disc", "-cup", "cup-", "", "cup\n", "x" * 65])
def test_a_label_that_cannot_name_a_condition_is_told(label):
    with pytest.raises(Misconfigured, match=f"a label becomes a condition's name: .* not {re.escape(repr(label))}$"):
        of_labels("visionunite", "Six signs", ("drusen", label))
