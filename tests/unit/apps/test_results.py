from __future__ import annotations

import dataclasses
import datetime as dt
import json

import pytest
from rich.console import Console

from eyestream.apps.results import facts
from eyestream.apps.results_tables import count_table, event_line, exam_table, picture_table
from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import uncalibrated
from eyestream.records import Decision, Finding, Picture, Reason
from eyestream.sinks.base import Decided, Exam
from eyestream.testing.screenings import a_note, a_screening
from eyestream.triage import decide

DEMO = Programme.builtin("demo")
UNDECIDING = uncalibrated(DEMO)
FOUND = Finding("microaneurysms", 0.873, 0.5, "balanced", "small red dots [/bold]")


def shown(table) -> str:
    console = Console(width=400, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table)
    console.file.close()
    return console.export_text()


@pytest.fixture
def exam():
    picture = Picture("img-1", "R", "macula", (FOUND,))
    decision = Decision(
        "exam-1",
        "refer",
        DEMO.urgencies[0].name,
        43,
        {"R": "referred", "L": "missing"},
        (Reason("R", "img-1", FOUND, DEMO.urgencies[0].name),),
        ("left eye: no picture of the retina yet",),
    )
    return Exam("exam-1", "demo", 1, 1, 0.0, (picture,), decision)


def test_a_referral_says_who_how_soon_and_why(exam):
    text = shown(exam_table([exam]))
    for word in ("exam-1", "refer", DEMO.urgencies[0].title, "referred", "missing", "no picture of the retina"):
        assert word in text
    assert f"{DEMO.condition('microaneurysms').title}, right: 87.3% ≥ 50.0% (balanced)" in text


def test_what_a_prompt_says_is_no_markup(exam):
    assert "“small red dots [/bold]”" in shown(exam_table([exam]))


def test_a_programme_that_is_not_known_here_keeps_its_own_names(exam):
    elsewhere = dataclasses.replace(exam, programme="elsewhere")
    assert "microaneurysms, right" in shown(exam_table([elsewhere]))
    assert DEMO.condition("microaneurysms").title in shown(exam_table([elsewhere], programmes={"elsewhere": DEMO}))


def test_pictures_that_could_not_be_judged_are_named_when_the_decision_is_silent(exam):
    pictures = (
        Picture("img-1", "R", "macula", ungradable="blur"),
        Picture("img-2", "L", "macula", unreadable="truncated"),
    )
    silent = Decision("exam-1", "recapture", "none", 2, {"R": "ungradable", "L": "ungradable"})
    text = shown(exam_table([dataclasses.replace(exam, pictures=pictures, decision=silent)]))
    assert "take again" in text
    assert "right, img-1: cannot be judged (blur)" in text
    assert "left, img-2: unreadable (truncated)" in text


def test_an_exam_between_storing_and_deciding_says_so(exam):
    assert "not decided yet" in shown(exam_table([dataclasses.replace(exam, decision=None)]))
    newer = dataclasses.replace(exam, version=exam.version + 1)
    assert exam.standing is not None
    assert "not decided yet" in shown(exam_table([newer]))


def test_an_exams_pictures_say_with_what_they_were_judged(exam):
    result = a_screening("img-1", conditions=("microaneurysms",), probability=0.9)
    text = shown(picture_table(dataclasses.replace(exam, unreadable=(a_note("img-2"),)), [result]))
    assert f"▸ {DEMO.condition('microaneurysms').title} 90.0% ≥ 50.0%" in text
    assert result.identity.encoder[:12] in text
    assert result.identity.bank[:12] in text
    assert "unreadable (truncated): The file ends early: send it again." in text
    assert result.meta.subject_id not in text


def test_an_exam_as_json_keeps_the_subject_to_itself(exam):
    text = json.dumps(facts(dataclasses.replace(exam, unreadable=(a_note("img-2"),))))
    assert a_note("img-2").meta.subject_id not in text
    assert json.loads(text)["decision"]["reasons"][0]["finding"]["probability"] == 0.873


def test_a_programme_that_does_not_decide_waits_for_no_picture(exam):
    """The decision itself says so: whoever reads results need not have the programme."""
    told = dataclasses.replace(exam, programme=UNDECIDING.name)
    for pictures, left in ((exam.pictures, "left: missing"), ((*exam.pictures, eye("L")), "left: scored")):
        decision = decide(UNDECIDING, "exam-1", pictures)
        text = shown(exam_table([dataclasses.replace(told, pictures=pictures, decision=decision)]))
        assert "scored, not decided" in text
        assert "right: scored" in text
        assert left in text
        assert "waiting" not in text


def test_the_same_pictures_wait_for_others_where_the_programme_decides(exam):
    clear = Picture("img-1", "R", "macula", (dataclasses.replace(FOUND, probability=0.01),))
    text = shown(exam_table([dataclasses.replace(exam, decision=decide(DEMO, "exam-1", [clear]))]))
    assert "waiting for pictures" in text
    assert "scored, not decided" not in text


def test_scores_that_decide_nothing_are_held_against_nothing(exam):
    result = a_screening("img-1", conditions=("microaneurysms",), probability=0.9)
    told = dataclasses.replace(exam, programme=UNDECIDING.name)
    text = shown(picture_table(told, [result], programmes={UNDECIDING.name: UNDECIDING}))
    assert f"{DEMO.condition('microaneurysms').title} 90.0%" in text
    assert "≥" not in text


@pytest.mark.parametrize(("programme", "words"), [(DEMO, "waiting for pictures"), (UNDECIDING, "scored, not decided")])
def test_events_and_counters_say_it_in_the_same_words(programme, words):
    known = {programme.name: programme}
    event = Decided("exam-1", programme.name, "incomplete", "none", 1, 1, 0.0)
    assert event_line(event, programmes=known) == f"00:00:00  exam-1  {words}  –"
    text = shown(count_table(programme.name, dt.date(2026, 3, 1), {"incomplete": 1_234}, programmes=known))
    [line] = [line for line in text.splitlines() if "1,234" in line]
    assert f"exams {words}" in line


def eye(laterality):
    return Picture(f"img-{laterality}", laterality, "macula", (FOUND,))
