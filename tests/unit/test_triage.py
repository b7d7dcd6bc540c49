from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyestream.programmes import Programme
from eyestream.records import Finding, Picture
from eyestream.triage import decide, scored_only, undecided

# The steps are in no alphabetical order: nothing may go by their names.
SCALE = """
schema_version = 1
name = "test"
title = "Test"
[[urgencies]]
name = "at-once"
title = "At once"
rank = 3
within_days = 14
[[urgencies]]
name = "soon"
title = "Soon"
rank = 2
within_days = 42
[[urgencies]]
name = "routine"
title = "Routine"
rank = 1
within_days = 91
[[conditions]]
id = "haemorrhages"
title = "Haemorrhages"
positive = ["haemorrhages"]
urgency = "soon"
[[conditions]]
id = "exudates"
title = "Exudates"
positive = ["exudates"]
urgency = "routine"
[[conditions]]
id = "microaneurysms"
title = "Microaneurysms"
positive = ["microaneurysms"]
[[conditions]]
id = "blur"
title = "Out of focus"
role = "quality"
positive = ["a blurred picture"]
[[rules]]
name = "both-signs"
when = ["haemorrhages", "exudates"]
urgency = "at-once"
because = "Haemorrhages and exudates in one eye"
"""
CONDITIONS = ("haemorrhages", "exudates", "microaneurysms")
TWO_FIELDS = '[required]\nfields = ["macula", "disc"]\n'
UNJUDGED = '[ungradable]\nurgency = "routine"\nrefer_after = 3\n[unreadable]\nurgency = "routine"\nrefer_after = 2\n'


def programme(*more):
    return Programme.parse(SCALE + "\n".join(more))


ANY = programme(UNJUDGED)
FIELDS = programme(TWO_FIELDS, UNJUDGED)
WHATEVER = programme('[required]\neyes = "photographed"\n', UNJUDGED)
REFERS = programme(UNJUDGED.replace("refer_after = 3", 'refer_after = 3\nfindings = "refer"'))
PATIENT = programme('[ungradable]\nurgency = "routine"\n[unreadable]\nurgency = "routine"\n')


def finding(condition, probability, threshold=0.5):
    return Finding(condition, probability, threshold, "balanced", f"phrase for {condition}")


def picture(image, eye, *found, field="macula", bad=None, lost=None, asked=CONDITIONS, of=""):
    """A picture in which `found` is positive, each a condition or (condition, probability)."""
    seen = dict(item if isinstance(item, tuple) else (item, 0.9) for item in found)
    if lost is not None:
        return Picture(image, eye, field, unreadable=lost, subject=of)
    every = tuple(finding(name, seen.pop(name, 0.1)) for name in asked)
    extra = tuple(finding(name, probability) for name, probability in seen.items())
    return Picture(image, eye, field, (*every, *extra), ungradable=bad, subject=of)


def said(decision):
    return decision.outcome, decision.urgency, decision.rank, decision.eyes


CLEAR, FOUND, BAD, LOST, NONE = "clear", "found", "bad", "lost", "none"


def one_eye(kind, eye):
    pictures = {
        CLEAR: [picture(f"{eye}1", eye)],
        FOUND: [picture(f"{eye}1", eye, "haemorrhages")],
        BAD: [picture(f"{eye}1", eye, bad="blur")],
        LOST: [picture(f"{eye}1", eye, lost="truncated")],
        NONE: [],
    }
    return pictures[kind]


STATUS = {CLEAR: "clear", FOUND: "referred", BAD: "ungradable", LOST: "ungradable", NONE: "missing"}


@pytest.mark.parametrize(
    ("kinds", "outcome", "urgency", "rank"),
    [
        ((CLEAR, CLEAR), "clear", "none", 0),
        ((CLEAR, FOUND), "refer", "soon", 23),
        ((CLEAR, BAD), "recapture", "routine", 12),
        ((CLEAR, LOST), "recapture", "routine", 12),
        ((CLEAR, NONE), "incomplete", "none", 1),
        ((FOUND, FOUND), "refer", "soon", 23),
        ((FOUND, BAD), "refer", "soon", 23),
        ((FOUND, LOST), "refer", "soon", 23),
        ((FOUND, NONE), "refer", "soon", 23),
        ((BAD, BAD), "recapture", "routine", 12),
        ((BAD, LOST), "recapture", "routine", 12),
        ((BAD, NONE), "recapture", "routine", 12),
        ((LOST, LOST), "recapture", "routine", 12),
        ((LOST, NONE), "recapture", "routine", 12),
        ((NONE, NONE), "incomplete", "none", 1),
    ],
)
def test_two_eyes_make_one_decision(kinds, outcome, urgency, rank):
    for right, left in {kinds, kinds[::-1]}:
        decision = decide(PATIENT, "exam", [*one_eye(right, "R"), *one_eye(left, "L")])
        assert said(decision) == (outcome, urgency, rank, {"R": STATUS[right], "L": STATUS[left]})


LEFT_CLEAR = [picture("lm", "L"), picture("ld", "L", field="disc")]


@pytest.mark.parametrize(
    ("macula", "disc", "status", "outcome"),
    [
        (CLEAR, CLEAR, "clear", "clear"),
        (CLEAR, FOUND, "referred", "refer"),
        (CLEAR, BAD, "ungradable", "recapture"),
        (CLEAR, LOST, "ungradable", "recapture"),
        (CLEAR, NONE, "missing", "incomplete"),
        (FOUND, CLEAR, "referred", "refer"),
        (FOUND, BAD, "referred", "refer"),
        (FOUND, NONE, "referred", "refer"),
        (BAD, BAD, "ungradable", "recapture"),
        (BAD, NONE, "ungradable", "recapture"),
        (NONE, LOST, "ungradable", "recapture"),
        (NONE, CLEAR, "missing", "incomplete"),
    ],
)
def test_an_eye_is_clear_only_when_every_required_field_was_judged(macula, disc, status, outcome):
    def taken(kind, field):
        found = ("haemorrhages",) if kind == FOUND else ()
        bad, lost = ("blur" if kind == BAD else None), ("truncated" if kind == LOST else None)
        return [] if kind == NONE else [picture(f"r-{field}", "R", *found, field=field, bad=bad, lost=lost)]

    decision = decide(FIELDS, "exam", [*LEFT_CLEAR, *taken(macula, "macula"), *taken(disc, "disc")])
    assert (decision.eyes["R"], decision.outcome) == (status, outcome)
    assert decision.eyes["L"] == "clear"


def test_a_picture_of_an_unnamed_field_does_not_stand_for_a_required_one():
    pictures = [*LEFT_CLEAR, picture("r1", "R"), picture("r2", "R", field="other")]
    decision = decide(FIELDS, "exam", pictures)
    assert (decision.outcome, decision.eyes["R"]) == ("incomplete", "missing")
    assert "right eye: no picture of the disc yet" in decision.notes


def test_an_ungradable_picture_of_an_unnamed_field_may_have_shown_what_is_lacking():
    pictures = [*LEFT_CLEAR, picture("r1", "R"), picture("r2", "R", field="other", bad="blur")]
    assert decide(FIELDS, "exam", pictures).eyes["R"] == "ungradable"


def test_an_ungradable_picture_of_a_field_that_was_judged_leaves_the_other_field_missing():
    pictures = [*LEFT_CLEAR, picture("r1", "R"), picture("r2", "R", bad="blur")]
    decision = decide(FIELDS, "exam", pictures)
    assert (decision.outcome, decision.eyes["R"]) == ("incomplete", "missing")


def test_an_ungradable_field_does_not_hide_that_another_has_not_come():
    decision = decide(FIELDS, "exam", [*LEFT_CLEAR, picture("r1", "R", bad="blur")])
    assert decision.outcome == "recapture"
    assert "right eye: no picture of the disc yet" in decision.notes
    assert "right eye: no picture of the macula yet" not in decision.notes


@pytest.mark.parametrize("field", ["macula", "other"])
def test_a_gradable_picture_of_the_same_field_makes_up_for_an_ungradable_one(field):
    bad = [picture("r1", "R", field=field, bad="blur"), picture("r3", "R", field=field, lost="empty")]
    decision = decide(ANY, "exam", [picture("l", "L"), *bad, picture("r2", "R", field=field)])
    assert said(decision) == ("clear", "none", 0, {"R": "clear", "L": "clear"})
    assert "right eye: 2 pictures could not be judged (Out of focus, empty)" in decision.notes


def test_a_referral_is_not_hidden_by_a_clear_or_ungradable_fellow_picture():
    found = picture("r1", "R", "haemorrhages")
    fellows = [picture("r2", "R"), picture("r3", "R", bad="blur"), picture("r4", "R", lost="empty"), picture("l", "L")]
    for count in range(len(fellows) + 1):
        decision = decide(ANY, "exam", [*fellows[:count], found])
        assert (decision.outcome, decision.urgency, decision.eyes["R"]) == ("refer", "soon", "referred")
        assert decision.reasons[0].image_id == "r1"


def test_the_most_probable_picture_of_each_eye_and_condition_is_the_reason():
    pictures = [
        picture("r1", "R", ("haemorrhages", 0.6)),
        picture("r2", "R", ("haemorrhages", 0.8)),
        picture("l1", "L", ("haemorrhages", 0.7)),
        picture("l2", "L", ("exudates", 0.95)),
    ]
    reasons = decide(programme().model_copy(update={"rules": ()}), "exam", pictures).reasons
    assert [(r.laterality, r.image_id, r.finding.condition, r.urgency) for r in reasons] == [
        ("R", "r2", "haemorrhages", "soon"),
        ("L", "l1", "haemorrhages", "soon"),
        ("L", "l2", "exudates", "routine"),
    ]


def test_of_equally_probable_pictures_the_same_one_is_always_named():
    pictures = [picture(f"r{number}", "R", "haemorrhages") for number in range(30, 9, -1)]
    assert {decide(ANY, "exam", order).reasons[0].image_id for order in (pictures, pictures[::-1])} == {"r10"}


def test_of_one_pictures_equally_probable_results_the_same_one_is_always_named():
    """As when an exam was scored again by another bank."""
    results = [
        Picture("r", "R", "macula", (Finding("exudates", 0.9, 0.5, "balanced", f"phrase {number}"),))
        for number in range(30, 9, -1)
    ]
    told = {decide(ANY, "exam", order).reasons[0].finding.prompt for order in (results, results[::-1])}
    assert told == {"phrase 10"}


def test_findings_together_in_one_eye_raise_the_urgency():
    apart = decide(ANY, "exam", [picture("r", "R", "haemorrhages"), picture("l", "L", "exudates")])
    together = decide(ANY, "exam", [picture("r1", "R", "haemorrhages"), picture("r2", "R", "exudates")])
    assert (apart.urgency, together.urgency) == ("soon", "at-once")
    assert {reason.urgency for reason in together.reasons} == {"at-once"}
    assert together.notes[0] == "Haemorrhages and exudates in one eye: at-once"


def test_findings_that_a_rule_does_not_name_neither_meet_it_nor_are_raised_by_it():
    beside = decide(ANY, "exam", [picture("r", "R", "haemorrhages", "microaneurysms")])
    assert beside.urgency == "soon"
    all_three = decide(ANY, "exam", [picture("r", "R", "haemorrhages", "microaneurysms", "exudates")])
    urgencies = {reason.finding.condition: reason.urgency for reason in all_three.reasons}
    assert urgencies == {"haemorrhages": "at-once", "exudates": "at-once", "microaneurysms": "none"}


@pytest.mark.parametrize("eye", ["R", "L"])
def test_a_finding_in_an_unknown_eye_counts_for_either_eye_in_a_rule(eye):
    decision = decide(ANY, "exam", [picture("known", eye, "haemorrhages"), picture("u", "U", "exudates")])
    assert decision.urgency == "at-once"


def test_a_rule_may_look_at_both_eyes_and_ask_for_fewer_than_all():
    rule = """
[[rules]]
name = "two-of-three"
when = ["haemorrhages", "exudates", "microaneurysms"]
at_least = 2
where = "either-eye"
urgency = "at-once"
because = "Two signs"
"""
    two = [picture("r", "R", "microaneurysms"), picture("l", "L", "exudates")]
    assert decide(programme(rule), "exam", two).urgency == "at-once"
    assert decide(programme(rule), "exam", two[:1]).outcome == "incomplete"


def test_a_finding_without_urgency_is_noted_and_refers_nobody():
    decision = decide(ANY, "exam", [picture("r", "R", "microaneurysms"), picture("l", "L")])
    assert said(decision) == ("clear", "none", 0, {"R": "clear", "L": "clear"})
    assert [(reason.finding.condition, reason.urgency) for reason in decision.reasons] == [("microaneurysms", "none")]
    assert "Microaneurysms in the right eye: noted, not referred" in decision.notes


def test_a_finding_in_an_ungradable_picture_is_told_but_refers_only_where_the_programme_says_so():
    pictures = [picture("r", "R", "haemorrhages", bad="blur"), picture("l", "L")]
    noted, referred = decide(ANY, "exam", pictures), decide(REFERS, "exam", pictures)
    assert (noted.outcome, noted.reasons) == ("recapture", ())
    assert "right eye: not counted for that: Haemorrhages" in noted.notes
    assert (referred.outcome, referred.eyes["R"]) == ("refer", "referred")


def test_a_finding_the_programme_does_not_know_refers_all_the_same():
    decision = decide(ANY, "exam", [picture("r", "R", "macular-hole"), picture("l", "L")])
    assert (decision.outcome, decision.urgency) == ("refer", "routine")
    assert any("macular-hole" in note and "another version" in note for note in decision.notes)


def test_a_picture_not_judged_for_every_finding_clears_no_eye():
    old = picture("r", "R", asked=CONDITIONS[:2])
    decision = decide(ANY, "exam", [old, picture("l", "L")])
    assert (decision.outcome, decision.eyes["R"]) == ("incomplete", "missing")
    assert any("score it again" in note for note in decision.notes)
    found = picture("r", "R", "haemorrhages", asked=CONDITIONS[:2])
    assert decide(ANY, "exam", [found, picture("l", "L")]).outcome == "refer"


def test_of_each_field_it_is_told_whether_a_picture_is_lacking_or_only_its_judgement():
    pictures = [picture("r1", "R", asked=CONDITIONS[:2]), picture("r2", "R", field="other"), *LEFT_CLEAR]
    assert decide(FIELDS, "exam", pictures).notes == (
        "right eye: no picture of the disc yet",
        "right eye: not judged for all the programme asks now; score it again",
    )


def test_a_picture_of_an_unknown_eye_clears_no_eye():
    decision = decide(ANY, "exam", [picture("u1", "U"), picture("u2", "U")])
    assert said(decision) == ("incomplete", "none", 1, {"R": "missing", "L": "missing"})
    assert "2 pictures of an unknown eye: cannot clear an eye" in decision.notes


ONE, OTHER = "pseudonym-of-one", "pseudonym-of-another"


@pytest.mark.parametrize("rules", [ANY, WHATEVER])
def test_pictures_of_two_pseudonyms_clear_nobody(rules):
    alone = [picture("r", "R", of=ONE), picture("l", "L", of=ONE), picture("r2", "R")]
    assert decide(rules, "exam", alone).outcome == "clear"
    decision = decide(rules, "exam", [*alone, picture("l2", "L", of=OTHER)])
    assert said(decision) == ("incomplete", "none", 1, {"R": "missing", "L": "missing"})
    assert decision.notes == ("the pictures carry 2 pseudonyms and may be of several patients: they clear nobody",)
    assert not undecided(decision)


def test_what_is_found_in_pictures_of_two_pseudonyms_refers_and_waits_as_ever():
    both = [picture("r", "R", "haemorrhages", of=ONE), picture("l", "L", of=OTHER)]
    assert said(decide(ANY, "exam", both)) == ("refer", "soon", 23, {"R": "referred", "L": "missing"})
    unread = [picture("r", "R", of=ONE), picture("l", "L", lost="truncated", of=OTHER)]
    assert said(decide(ANY, "exam", unread)) == ("recapture", "routine", 12, {"R": "missing", "L": "ungradable"})
    asks = programme('[incomplete]\nurgency = "routine"\n', UNJUDGED)
    clear = [picture("r", "R", of=ONE), picture("l", "L", of=OTHER)]
    assert said(decide(asks, "exam", clear))[:3] == ("incomplete", "routine", 11)


def test_a_finding_in_an_unknown_eye_refers_the_exam():
    decision = decide(ANY, "exam", [picture("u", "U", "exudates"), picture("r", "R"), picture("l", "L")])
    assert said(decision) == ("refer", "routine", 13, {"R": "clear", "L": "clear", "U": "referred"})


@pytest.mark.parametrize(
    ("pictures", "outcome", "eyes"),
    [
        ([], "incomplete", {"R": "missing", "L": "missing"}),
        ([picture("r", "R")], "clear", {"R": "clear", "L": "missing"}),
        ([picture("u", "U")], "clear", {"R": "missing", "L": "missing", "U": "clear"}),
        (
            [picture("u", "U"), picture("v", "U", bad="blur")],
            "recapture",
            {"R": "missing", "L": "missing", "U": "ungradable"},
        ),
        ([picture("r", "R"), picture("l", "L", bad="blur")], "recapture", {"R": "clear", "L": "ungradable"}),
    ],
)
def test_a_programme_may_take_whatever_eye_was_photographed(pictures, outcome, eyes):
    decision = decide(WHATEVER, "exam", pictures)
    assert (decision.outcome, decision.eyes) == (outcome, eyes)


@pytest.mark.parametrize(("kind", "enough"), [("bad", 3), ("lost", 2)])
def test_an_eye_that_again_and_again_cannot_be_judged_is_referred(kind, enough):
    tries = [picture(f"r{i}", "R", **{kind: "blur" if kind == "bad" else "truncated"}) for i in range(enough)]
    before = decide(ANY, "exam", [picture("l", "L"), *tries[:-1]])
    after = decide(ANY, "exam", [picture("l", "L"), *tries])
    assert (before.outcome, before.rank) == ("recapture", 12)
    assert said(after) == ("refer", "routine", 13, {"R": "ungradable", "L": "clear"})
    assert any("referred because" in note for note in after.notes)
    assert decide(ANY, "exam", [picture("l", "L"), *tries, picture("r9", "R")]).outcome == "clear"


def test_a_programme_that_does_not_decide_says_of_which_eyes_it_has_scores_and_waits_for_no_picture():
    scores = Programme.parse(SCALE.replace('title = "Test"', 'title = "Test"\ndecides = false'))
    right, left = picture("r", "R", "haemorrhages"), picture("l", "L", bad="blur")
    alone, both, empty = (decide(scores, "exam", pictures) for pictures in ([right], [right, left], []))
    assert [decision.outcome for decision in (alone, both, empty)] == ["incomplete", "recapture", "incomplete"]
    assert [scored_only(decision) for decision in (alone, both, empty)] == [{"R"}, {"R"}, set()]
    assert [undecided(decision) for decision in (alone, both, empty)] == [True, False, False]


def test_an_exam_that_waits_for_a_picture_is_not_one_that_was_only_scored():
    decision = decide(ANY, "exam", [picture("r", "R")])
    assert (decision.outcome, scored_only(decision), undecided(decision)) == ("incomplete", set(), False)


def test_ungradable_and_unreadable_pictures_are_counted_apart():
    tries = [picture("r1", "R", bad="blur"), picture("r2", "R", bad="blur"), picture("r3", "R", lost="empty")]
    decision = decide(ANY, "exam", [picture("l", "L"), *tries])
    assert (decision.outcome, decision.rank) == ("recapture", 12)


def test_a_repeat_is_as_urgent_as_the_most_urgent_of_what_went_wrong():
    sooner = SCALE.replace('urgency = "soon"', 'urgency = "at-once"').replace(
        'urgency = "routine"', 'urgency = "at-once"'
    )
    rules = Programme.parse(f'{sooner}[ungradable]\nurgency = "at-once"\n[unreadable]\nurgency = "soon"\n')
    bad, lost = picture("r1", "R", bad="blur"), picture("r2", "R", lost="empty")
    said = [decide(rules, "exam", [picture("l", "L"), *pictures]).urgency for pictures in ([bad], [lost], [bad, lost])]
    assert said == ["at-once", "soon", "at-once"]


def test_a_missing_picture_is_waited_for_as_urgently_as_the_programme_says():
    waits = programme(UNJUDGED, '[incomplete]\nurgency = "routine"\n')
    assert said(decide(waits, "exam", [picture("r", "R")]))[:3] == ("incomplete", "routine", 11)
    both = [picture("r", "R"), picture("l", "L")]
    assert said(decide(waits, "exam", both)) == ("clear", "none", 0, {"R": "clear", "L": "clear"})


def test_an_eye_that_was_not_asked_for_neither_waits_nor_speaks():
    either = programme('[required]\neyes = "photographed"\n', UNJUDGED, '[incomplete]\nurgency = "routine"\n')
    decision = decide(either, "exam", [picture("r", "R")])
    assert (said(decision)[:3], decision.notes) == (("clear", "none", 0), ())
    decision = decide(either, "exam", [picture("u", "U")])
    assert (decision.outcome, decision.notes) == ("clear", ())


def test_pictures_of_an_unknown_eye_that_cannot_be_judged_refer_nobody_where_both_eyes_are_known():
    unknown = [picture(f"u{number}", "U", lost="empty") for number in range(5)]
    decision = decide(ANY, "exam", [*unknown, picture("r", "R"), picture("l", "L")])
    assert said(decision) == ("clear", "none", 0, {"R": "clear", "L": "clear"})


def test_failures_of_two_eyes_are_not_added_up():
    tries = [picture("r1", "R", bad="blur"), picture("r2", "R", bad="blur"), picture("l1", "L", bad="blur")]
    assert decide(ANY, "exam", tries).outcome == "recapture"


def test_a_picture_that_was_judged_is_no_longer_unreadable():
    pictures = [picture("r", "R", lost="truncated"), picture("r", "R"), picture("l", "L")]
    decision = decide(ANY, "exam", pictures)
    assert (decision.outcome, decision.notes) == ("clear", ())


def test_notes_tell_of_each_eye_what_is_its_own():
    pictures = [
        picture("r", "R", "haemorrhages", "exudates", bad="blur"),
        picture("l1", "L", "exudates", "microaneurysms"),
        picture("l2", "L", lost="truncated"),
        picture("u", "U", lost="empty"),
    ]
    assert decide(ANY, "exam", pictures).notes == (
        "Microaneurysms in the left eye: noted, not referred",
        "right eye: 1 picture could not be judged (Out of focus)",
        "right eye: not counted for that: Exudates, Haemorrhages",
        "left eye: 1 picture could not be judged (truncated)",
        "unknown eye: 1 picture could not be judged (empty)",
        "1 picture of an unknown eye: cannot clear an eye",
    )


def test_no_note_holds_more_than_titles_eyes_and_counts():
    """Image identifiers stay in reasons; notes are shown wherever an exam is."""
    pictures = [picture("IMAGE-A", "R", "haemorrhages", bad="blur"), picture("IMAGE-B", "U", lost="truncated")]
    assert not any("IMAGE" in note for note in decide(ANY, "exam", pictures).notes)


probabilities = st.floats(0, 1).map(lambda value: round(value, 3))


@st.composite
def some_picture(draw, positive=None):
    eye = draw(st.sampled_from(["R", "L", "U"]))
    field = draw(st.sampled_from(["macula", "disc", "other"]))
    image = draw(st.sampled_from([f"i{n}" for n in range(30)]))
    kind = draw(st.sampled_from(["judged", "judged", "bad", "lost"]))
    of = draw(st.sampled_from([ONE, ONE, ONE, "", OTHER]))
    if kind == "lost" and positive is None:
        return picture(image, eye, field=field, lost=draw(st.sampled_from(["truncated", "empty"])), of=of)
    found = {name: draw(probabilities) for name in (*CONDITIONS, "macular-hole") if draw(st.booleans())}
    if positive is not None:
        found[positive] = draw(st.floats(0.5, 1))
        image = f"new-{image}"
    asked = CONDITIONS if draw(st.integers(0, 4)) else CONDITIONS[:1]
    bad = "blur" if kind == "bad" else None
    return picture(image, eye, *found.items(), field=field, bad=bad, asked=asked, of=of)


exams = st.lists(some_picture(), max_size=9)
programmes = st.sampled_from([ANY, FIELDS, WHATEVER, REFERS, PATIENT])
thorough = settings(derandomize=True, deadline=None, max_examples=120)


@thorough
@given(programmes, exams, st.randoms(use_true_random=False))
def test_order_and_duplicates_change_nothing(rules, pictures, random):
    shuffled = [*pictures, *random.choices(pictures, k=3)] if pictures else []
    random.shuffle(shuffled)
    assert decide(rules, "exam", shuffled) == decide(rules, "exam", pictures)


@thorough
@given(programmes, exams, some_picture(positive="exudates"))
def test_a_picture_with_a_finding_that_refers_never_lowers_the_rank(rules, pictures, more):
    before, after = decide(rules, "exam", pictures), decide(rules, "exam", [*pictures, more])
    assert after.rank >= before.rank
    if more.ungradable is None:
        assert after.outcome == "refer"


@thorough
@given(programmes, exams, some_picture())
def test_no_picture_takes_a_finding_back(rules, pictures, more):
    """Whatever comes, what was found and where stays a reason, and no less urgent."""
    more = picture(f"new-{more.image_id}", more.laterality, field=more.field, bad=more.ungradable, lost=more.unreadable)
    before, after = decide(rules, "exam", pictures), decide(rules, "exam", [*pictures, more])
    kept = {(reason.laterality, reason.finding.condition): reason.urgency for reason in after.reasons}
    for reason in before.reasons:
        assert rules.rank_of(kept[reason.laterality, reason.finding.condition]) >= rules.rank_of(reason.urgency)


@thorough
@given(programmes, exams)
def test_a_clear_exam_has_every_eye_judged_and_nothing_that_refers(rules, pictures):
    decision = decide(rules, "exam", pictures)
    read = {p.image_id for p in pictures if p.unreadable is None}
    gradable = [p for p in pictures if p.ungradable is None and p.image_id in read and p.unreadable is None]
    referring = {"haemorrhages", "exudates", "macular-hole"}
    positive = any(f.positive and f.condition in referring for p in gradable for f in p.findings)
    if positive:
        assert decision.outcome == "refer"
    if decision.outcome == "clear":
        assert not positive
        known = [p for p in pictures if p.unreadable is None or p.image_id not in read]
        assert len({p.subject for p in known} - {""}) <= 1
        eyes = ("R", "L") if rules.required.eyes == "both" else {p.laterality for p in known}
        wanted = list(itertools.product(eyes, rules.required.fields or [None]))
        assert wanted
        for eye, field in wanted:
            assert any(p.laterality == eye and field in {None, p.field} for p in gradable)


@thorough
@given(programmes, exams)
def test_rank_orders_by_urgency_and_then_by_outcome(rules, pictures):
    decision = decide(rules, "exam", pictures)
    assert decision.rank // 10 == rules.rank_of(decision.urgency)
    assert ["clear", "incomplete", "recapture", "refer"][decision.rank % 10] == decision.outcome
