from __future__ import annotations

import hashlib
import re

import pytest

from eyestream.errors import Misconfigured
from eyestream.programmes import Programme, available

SMALL = """schema_version = 1
name = "small"
title = "Small"

[[urgencies]]
name = "soon"
title = "Soon"
rank = 2
within_days = 28

[[urgencies]]
name = "routine"
title = "Routine"
rank = 1
within_days = 91

[[conditions]]
id = "drusen"
title = "Drusen"
positive = ["drusen", "pale spots"]
negative = ["a healthy macula"]
urgency = "routine"

[[conditions]]
id = "blur"
title = "Out of focus"
role = "quality"
positive = ["a blurred picture"]
negative = ["a sharp picture"]
"""


def fault(text, source="small.toml"):
    with pytest.raises(Misconfigured) as caught:
        Programme.parse(text, source=source)
    return str(caught.value)


def test_every_built_in_programme_loads_and_has_its_files_name():
    assert {"demo", "diabetic-eye-screening"} <= set(available())
    for name in available():
        assert Programme.builtin(name).name == name


def test_the_demo_programme_looks_for_what_the_renderer_draws():
    demo = Programme.builtin("demo")
    assert [condition.id for condition in demo.findings] == [
        "microaneurysms",
        "haemorrhages",
        "exudates",
        "large-cup",
        "drusen",
        "cataract",
    ]
    quality = [condition.id for condition in demo.conditions if condition.role == "quality"]
    assert quality == ["blur", "dark", "off-centre", "not-an-eye"]


def test_an_unknown_built_in_is_answered_with_those_there_are():
    with pytest.raises(Misconfigured, match="demo, diabetic-eye-screening"):
        Programme.builtin("demos")


def test_the_digest_is_the_sha256_of_the_file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL + "# a comment\n")
    programme = Programme.load(path)
    assert programme.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert programme.text == path.read_text()
    assert programme.digest != Programme.parse(SMALL).digest


def test_a_missing_file_and_one_that_is_not_text_are_named(tmp_path):
    with pytest.raises(Misconfigured, match=re.escape(str(tmp_path / "none.toml"))):
        Programme.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misconfigured, match=r"bad\.toml cannot be read"):
        Programme.load(tmp_path / "bad.toml")


def test_text_that_is_not_toml_is_told_with_its_line():
    assert re.search(r"small\.toml is not TOML: .*line 2", fault("schema_version = 1\nname = \n"))


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('"pale spots"]', '"Drusen "]', 20, "'Drusen ' stands twice (the first time under positive)"),
        ('"pale spots"]', '\n  "pale",\n  "  "]', 22, "a positive phrase is empty"),
        ('["a healthy macula"]', '["drusen"]', 21, "'drusen' stands twice"),
        ('["a sharp picture"]', '["a blurred  picture"]', 29, "'a blurred  picture' stands twice"),
        ('["a sharp picture"]', "['a blurred picture']", 29, "'a blurred picture' stands twice"),
        ('["a healthy macula"]', '["\\u0064rusen"]\nsuggests = ""', 21, "'drusen' stands twice"),
        ('["a healthy macula"]', '["a blurred picture", "\\u0061 blurred picture"]', 21, "stands twice"),
        ('["a sharp picture"]', '["\\u0061 blurred picture"]', 29, "'a blurred picture' stands twice"),
        ("[[conditions]]", '[[groups]]\nname = "g"\nrest = [""]\n[[conditions]]', 19, "g: a rest phrase is empty"),
    ],
)
def test_empty_and_doubled_phrases_are_named_with_file_and_line(old, new, line, said):
    message = fault(SMALL.replace(old, new, 1))
    assert f"small.toml:{line}: " in message
    assert said in message


def test_a_phrase_may_be_the_negative_of_many_conditions():
    text = SMALL.replace('["a sharp picture"]', '["a healthy macula"]')
    assert len(Programme.parse(text).conditions) == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema_version = 1", "schema_version = 2", "schema_version"),
        ('title = "Small"', 'title = "Small"\ncolour = "red"', "colour: Extra inputs are not permitted"),
        ('name = "small"', 'name = "Not A Slug"', "name"),
        ('urgency = "routine"', 'urgency = "someday"', "someday: used, but not defined"),
        ('urgency = "routine"', 'role = "quality"', "none is a finding, and nobody may be clear"),
        ("rank = 2", "rank = 1", "a rank of its own"),
        ('name = "soon"', 'name = "none"', "'none' is always there"),
        ('name = "soon"', 'name = "routine"', "urgencies: routine stands there twice"),
        ('id = "blur"', 'id = "drusen"', "conditions: drusen stands there twice"),
        ('role = "quality"', 'role = "quality"\nurgency = "soon"', "a quality condition has no urgency"),
        ('role = "quality"', 'role = "quality"\ntemplates = ["no place"]', "templates"),
        ('role = "quality"', 'role = "quality"\ngroup = "g"', "competes with its group"),
        ('role = "quality"', 'role = "quality"\noperating_point = "x"', "blur has no threshold for 'x'"),
        ('role = "quality"', 'role = "quality"\nthresholds = { balanced = 1.5 }', "thresholds"),
        ('role = "quality"', 'role = "quality"\nthresholds = { balanced = 0.0 }', "thresholds"),
        ('role = "quality"', 'role = "quality"\nthresholds = { balanced = nan }', "thresholds"),
        ('role = "quality"', 'role = "quality"\ncalibration = { a = 0.0 }', "calibration"),
        ('role = "quality"', 'role = "quality"\ncalibration = { a = -1.0 }', "calibration"),
        ('role = "quality"', 'role = "quality"\ncalibration = { b = nan }', "calibration"),
        ('["a blurred picture"]', "[]", "conditions.1.positive"),
        (
            "[[urgencies]]",
            '[[groups]]\nname = "g"\n[[groups]]\nname = "g"\n[[urgencies]]',
            "groups: g stands there twice",
        ),
        ("[[urgencies]]", '[ungradable]\nurgency = "someday"\n[[urgencies]]', "someday: used, but not defined"),
        ("[[urgencies]]", '[unreadable]\nurgency = "someday"\n[[urgencies]]', "someday: used, but not defined"),
        ("[[urgencies]]", '[incomplete]\nurgency = "someday"\n[[urgencies]]', "someday: used, but not defined"),
        ("[[urgencies]]", '[ungradable]\nurgency = "soon"\nrefer_after = 0\n[[urgencies]]', "refer_after"),
        ("[[urgencies]]", "[ungradable]\nrefer_after = 2\n[[urgencies]]", "refer_after needs an urgency"),
        ("[[urgencies]]", "[retention]\nresults_days = 0\n[[urgencies]]", "retention.results_days"),
        ('title = "Small"', 'title = "Small"\ngroups = 5', "groups: Input should be a valid tuple"),
        ('title = "Small"', 'title = "Small"\ngroups = ["g", "g"]', "groups.0: Input should be a valid dictionary"),
        ("[[urgencies]]", '[incomplete]\nurgency = "routine"\n[[urgencies]]', "must not count less"),
        ("[[urgencies]]", '[ungradable]\nurgency = "soon"\n[[urgencies]]', "ungradable: more urgent than a finding"),
        ("[[urgencies]]", '[unreadable]\nurgency = "soon"\n[[urgencies]]', "unreadable: more urgent than a finding"),
        (
            "[[urgencies]]",
            '[ungradable]\nurgency = "routine"\n[incomplete]\nurgency = "routine"\n[[urgencies]]',
            "unreadable: less urgent than incomplete",
        ),
        ('["a healthy macula"]', '[]\ngroup = "nowhere"', "nowhere: used, but not defined"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(old, new, said):
    assert said in fault(SMALL.replace(old, new, 1))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('when = ["cataract"]\nurgency = "soon"', "cataract: used, but not defined"),
        ('when = ["blur"]\nurgency = "soon"', "blur: used, but not defined"),
        ('when = ["drusen"]\nurgency = "none"', "has no effect"),
        ('when = ["drusen"]\nat_least = 2\nurgency = "soon"', "at least `at_least`"),
        ('when = ["drusen"]\nat_least = 0\nurgency = "soon"', "at_least"),
        ('when = ["drusen", "drusen"]\nurgency = "soon"', "different conditions"),
    ],
)
def test_a_rule_that_can_never_speak_is_refused(rule, said):
    assert said in fault(f'{SMALL}[[rules]]\nname = "r"\nbecause = "Because"\n{rule}\n')


def test_of_two_rules_of_one_name_neither_is_silently_left_out():
    rule = '[[rules]]\nname = "r"\nbecause = "Because"\nwhen = ["drusen"]\nurgency = "soon"\n'
    assert "rules: r stands there twice" in fault(SMALL + rule * 2)


def test_what_a_programme_does_not_say_stays_the_same_from_release_to_release():
    """Every default is part of what was decided: the digest is of the text, and does not show that one changed."""
    small = Programme.parse(SMALL)
    assert small.decides
    assert small.scoring.model_dump() == {
        "scale": 100.0,
        "bias": 0.0,
        "renormalise": True,
        "templates": ("{}",),
        "operating_point": "balanced",
    }
    drusen = small.conditions[0]
    assert (drusen.role, drusen.group, drusen.templates, drusen.operating_point) == ("finding", None, None, None)
    assert (drusen.calibration.a, drusen.calibration.b, drusen.thresholds) == (1.0, 0.0, {"balanced": 0.5})
    assert small.conditions[1].urgency == "none"
    assert (small.required.eyes, small.required.fields) == ("both", ())
    assert small.ungradable.model_dump() == {"urgency": "none", "refer_after": None, "findings": "note"}
    assert small.unreadable.model_dump() == {"urgency": "none", "refer_after": None}
    assert small.incomplete.urgency == "none"
    assert small.retention.model_dump() == {"results_days": 3650, "embeddings_days": 3650, "dead_letters_days": 30}


def test_a_rule_asks_for_all_its_findings_in_one_eye_unless_it_says_otherwise():
    rule = '[[rules]]\nname = "r"\nbecause = "Because"\nwhen = ["drusen"]\nurgency = "soon"\n'
    (told,) = Programme.parse(SMALL + rule).rules
    assert (told.where, told.needed) == ("same-eye", 1)


def test_a_fault_in_a_file_is_told_with_the_files_name_and_line(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SMALL.replace('role = "quality"', 'role = "other"'))
    with pytest.raises(Misconfigured, match=rf"^{re.escape(str(path))}:24: conditions\.1\.role"):
        Programme.load(path)


def test_a_fault_in_a_single_table_is_told_with_its_line():
    message = fault(SMALL + "[scoring]\nscale = 0\n")
    assert message.startswith(f"small.toml:{SMALL.count(chr(10)) + 1}: scoring.scale: Input should be greater than 0")


def test_a_fault_is_told_in_our_words_alone():
    message = fault(SMALL + "[ungradable]\nrefer_after = 2\n")
    assert message.endswith("ungradable: refer_after needs an urgency to refer with")


def test_a_fault_outside_every_table_is_told_with_the_first_line():
    assert fault(SMALL.replace("schema_version = 1", "schema_version = 2")).startswith("small.toml:1: schema_version")


def test_a_fault_in_the_second_condition_is_told_with_its_line():
    assert fault(SMALL.replace('role = "quality"', 'role = "other"')).startswith("small.toml:24: conditions.1.role")


def test_all_faults_are_told_at_once():
    message = fault(SMALL.replace('role = "quality"', 'role = "other"').replace("rank = 2", "rank = 0"))
    assert "conditions.1.role" in message
    assert "urgencies.0.rank" in message


def test_what_decides_nothing_may_ask_for_quality_alone():
    only_quality = SMALL.replace('urgency = "routine"', 'role = "quality"').replace(
        "[[urg", "decides = false\n[[urg", 1
    )
    assert Programme.parse(only_quality).findings == ()


def test_all_that_is_used_and_not_defined_is_told_in_the_same_order_each_time():
    names = [f"someday-{letter}" for letter in "abcdefgh"]
    rules = "".join(
        f'[[rules]]\nname = "{name}"\nbecause = "Because"\nwhen = ["drusen"]\nurgency = "{name}"\n'
        for name in reversed(names)
    )
    assert f"{', '.join(names)}: used, but not defined" in fault(SMALL + rules)


def test_the_least_referral_is_that_of_findings_and_rules():
    assert Programme.parse(SMALL).least_referral == "routine"
    only_soon = SMALL.replace('urgency = "routine"', 'urgency = "soon"')
    assert Programme.parse(only_soon).least_referral == "soon"
    nothing = SMALL.replace('urgency = "routine"\n', "")
    assert Programme.parse(nothing).least_referral == "routine"
