from __future__ import annotations

import dataclasses
import datetime as dt
import json

import pytest
from fhir.resources.R4B.bundle import Bundle

from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import BEYOND, POINT, uncalibrated
from eyestream.records import Picture, digest
from eyestream.sinks.audit import Entry
from eyestream.testing.contracts_readings import ADA
from eyestream.triage import decide
from eyestream.web import fhir
from eyestream.web.exam_models import ExamView

DEMO = Programme.builtin("demo")


async def exported(world, exam_id="exam-1"):
    answer = await world.client("viewer").get(f"/v1/exams/{exam_id}/fhir")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    Bundle.model_validate_json(answer.content)
    resources = [entry["resource"] for entry in answer.json()["entry"]]
    return answer, {
        kind: [one for one in resources if one["resourceType"] == kind]
        for kind in ("DiagnosticReport", "Observation", "Device")
    }


async def looked_at(world, exam_id="exam-1"):
    """The exam as the export finds it, to be changed."""
    return await world.readings.dossier(exam_id, Entry(actor=ADA, action="exam.viewed", at=1.0))


def resources(dossier, kind, programme=DEMO):
    document = json.loads(fhir.bundle(dossier, programme))
    return [entry["resource"] for entry in document["entry"] if entry["resource"]["resourceType"] == kind]


async def test_an_exam_is_a_report_with_an_observation_for_each_finding_of_each_picture(world):
    await world.screen("exam-1")
    answer, found = await exported(world)
    [report], [device] = found["DiagnosticReport"], found["Device"]
    screenings = await world.sink.screenings("exam-1")
    wanted = {
        (one.meta.image_id, finding.condition): round(finding.probability, 6)
        for one in screenings
        for finding in (*one.findings, *one.quality)
    }
    told = {
        (one["identifier"][0]["value"], one["code"]["coding"][0]["code"]): one["valueQuantity"]["value"]
        for one in found["Observation"]
    }
    assert told == wanted
    referred = {reference["reference"] for reference in report["result"]}
    urls = {entry["fullUrl"] for entry in answer.json()["entry"]}
    assert referred == {f"urn:uuid:{one['id']}" for one in found["Observation"]} <= urls
    versions = {version["type"]["text"]: version["value"] for version in device["version"]}
    assert versions["encoder"] == screenings[0].identity.encoder
    assert versions["bank"] == screenings[0].identity.bank


async def test_positive_is_what_reached_its_operating_point(world):
    await world.screen("exam-1")
    _, found = await exported(world)
    for one in found["Observation"]:
        positive = one["interpretation"][0]["coding"][0]["code"] == "POS"
        assert positive == (one["valueQuantity"]["value"] >= one["referenceRange"][0]["high"]["value"])
        assert one["bodySite"]["coding"][0]["code"] == "18944008"


async def test_a_report_is_preliminary_until_a_reader_decided_and_final_from_then_until_a_picture_comes(world):
    await world.screen("exam-1")
    _, found = await exported(world)
    assert found["DiagnosticReport"][0]["status"] in {"preliminary", "partial"}
    assert "resultsInterpreter" not in found["DiagnosticReport"][0]
    claim = await world.readings.claim("exam-1", ADA, for_s=900)
    await world.readings.decide(
        "exam-1", ADA, outcome="refer", urgency="soon", comment="Exudates.", seen=claim.reading.version
    )
    _, found = await exported(world)
    [report] = found["DiagnosticReport"]
    assert report["status"] == "final"
    assert report["resultsInterpreter"][0]["identifier"]["value"] == "ada"
    assert report["conclusion"].startswith("Reader: refer, soon. Exudates.")
    assert report["conclusionCode"][0]["coding"][0]["code"] == "refer"
    await world.screen("exam-1", seed=40)
    _, found = await exported(world)
    assert found["DiagnosticReport"][0]["status"] in {"preliminary", "partial"}


async def test_a_programme_that_does_not_decide_misses_no_picture(world):
    await world.screen("exam-1")
    dossier = await world.readings.dossier("exam-1", Entry(actor=ADA, action="exam.viewed", at=1.0))
    pictures = [Picture("img-1", "R", "macula")]
    told = {}
    for programme in (DEMO, uncalibrated(DEMO)):
        exam = dataclasses.replace(dossier.exam, decision=decide(programme, "exam-1", pictures))
        told[programme.name] = json.loads(fhir.bundle(dataclasses.replace(dossier, exam=exam), programme))
    [waits, scored] = [document["entry"][0]["resource"] for document in told.values()]
    assert waits["conclusion"].startswith("Automated screening: pictures are missing.")
    assert scored["conclusion"].startswith("Automated screening: scored, not decided. right eye: scored only")
    [[one], [other]] = [report["conclusionCode"][0]["coding"] for report in (waits, scored)]
    assert (one["code"], one["display"]) == ("incomplete", "pictures are missing")
    assert (other["code"], other["display"]) == ("incomplete", "scored, not decided")


async def test_a_score_without_an_operating_point_is_not_called_negative(world):
    await world.screen("exam-1")
    dossier = await world.readings.dossier("exam-1", Entry(actor=ADA, action="exam.viewed", at=1.0))
    results = [
        dataclasses.replace(
            result,
            findings=tuple(
                dataclasses.replace(one, probability=0.95, threshold=BEYOND, operating_point=POINT)
                for one in result.findings
            ),
            quality=(),
        )
        for result in dossier.results
    ]
    for programme in (uncalibrated(DEMO), None):
        document = json.loads(fhir.bundle(dataclasses.replace(dossier, results=results), programme))
        found = [entry["resource"] for entry in document["entry"] if entry["resource"]["resourceType"] == "Observation"]
        assert found
        assert all("interpretation" not in one and "referenceRange" not in one for one in found)
        assert {one["valueQuantity"]["value"] for one in found} == {0.95}


async def test_a_finding_of_a_picture_that_cannot_be_judged_says_so(world):
    await world.screen("exam-1")
    dossier = await world.readings.dossier("exam-1", Entry(actor=ADA, action="exam.viewed", at=1.0))
    blind = DEMO.conditions[-1]
    assert blind.role == "quality"
    results = [
        dataclasses.replace(result, ungradable=why)
        for result, why in zip(dossier.results, (blind.id, None), strict=True)
    ]
    document = json.loads(fhir.bundle(dataclasses.replace(dossier, results=results), DEMO))
    found = [entry["resource"] for entry in document["entry"] if entry["resource"]["resourceType"] == "Observation"]
    warned = {
        (one["identifier"][0]["value"], one["code"]["coding"][0]["code"]): one["note"][0]["text"]
        for one in found
        if "note" in one
    }
    assert warned == {
        (results[0].meta.image_id, finding.condition): (
            f"The picture cannot be judged ({blind.title}): this says nothing of the eye."
        )
        for finding in results[0].findings
    }
    negative = {
        (one["identifier"][0]["value"], one["code"]["coding"][0]["code"])
        for one in found
        if one["interpretation"][0]["coding"][0]["code"] == "NEG"
    }
    assert negative
    assert not negative & warned.keys()


async def test_the_subject_is_the_pseudonym_and_in_no_address(world):
    [meta, _] = await world.screen("exam-1")
    answer, found = await exported(world)
    subject = {"identifier": {"system": "urn:eyestream:subject-pseudonym", "value": meta.subject_id}}
    assert all(one["subject"] == subject for one in (*found["DiagnosticReport"], *found["Observation"]))
    assert not any(meta.subject_id in entry["fullUrl"] for entry in answer.json()["entry"])


async def test_the_same_exam_gives_the_same_document_and_no_field_is_empty(world):
    await world.screen("exam-1")
    first, _ = await exported(world)
    again, _ = await exported(world)
    assert first.content == again.content
    assert "null" not in first.text
    assert "[]" not in first.text


async def test_an_exam_whose_only_picture_is_unreadable_is_a_valid_report_too(world):
    world.line.put_broken(1, exam_id="exam-1")
    await world.line.run()
    _, found = await exported(world)
    assert found["Observation"] == []
    assert found["DiagnosticReport"][0]["conclusion"]


async def test_what_is_no_fhir_is_not_handed_out(world):
    await world.screen("exam-1")
    dossier = await world.readings.dossier("exam-1", Entry(actor=ADA, action="exam.viewed", at=1.0))
    [first, second] = dossier.results
    broken = dataclasses.replace(first.findings[0], condition="")
    bad = dataclasses.replace(dossier, results=[dataclasses.replace(first, findings=(broken,))])
    with pytest.raises(ValueError, match="code"):
        fhir.bundle(bad, None)
    good = dataclasses.replace(dossier, results=[second])
    assert json.loads(fhir.bundle(good, None))["type"] == "collection"


async def test_a_picture_that_came_since_leaves_no_conclusion_of_the_line(world):
    await world.screen("exam-1")
    known = await looked_at(world)
    [before] = resources(known, "DiagnosticReport")
    assert before["conclusionCode"]
    exam = dataclasses.replace(known.exam, version=known.exam.version + 1)
    [report] = resources(dataclasses.replace(known, exam=exam), "DiagnosticReport")
    assert report["status"] == "partial"
    assert not {"conclusion", "conclusionCode"} & report.keys()
    assert report["result"] == before["result"]


@pytest.mark.parametrize(("eyes", "status"), [("RL", "preliminary"), ("R", "partial")])
async def test_a_programme_that_does_not_decide_is_partial_only_while_an_eye_has_no_picture(world, eyes, status):
    await world.screen("exam-1")
    known = await looked_at(world)
    scores = uncalibrated(DEMO)
    pictures = [Picture(f"img-{eye}", eye, "macula") for eye in eyes]
    exam = dataclasses.replace(known.exam, decision=decide(scores, "exam-1", pictures))
    [report] = resources(dataclasses.replace(known, exam=exam), "DiagnosticReport", scores)
    assert report["status"] == status


async def test_pictures_of_several_pseudonyms_are_given_to_no_single_patient(world):
    await world.screen("exam-1")
    known = await looked_at(world)
    [first, second] = known.results
    other = dataclasses.replace(second, meta=second.meta.model_copy(update={"subject_id": "another-patient-1"}))
    mixed = dataclasses.replace(known, results=[first, other])
    [report] = resources(mixed, "DiagnosticReport")
    assert "subject" not in report
    assert report["conclusion"].startswith("the pictures carry 2 pseudonyms and may be of several patients: they clear")
    subjects = {
        one["identifier"][0]["value"]: one["subject"]["identifier"]["value"] for one in resources(mixed, "Observation")
    }
    assert subjects == {first.meta.image_id: first.meta.subject_id, other.meta.image_id: "another-patient-1"}
    assert (ExamView.of(known, DEMO).pseudonyms, ExamView.of(mixed, DEMO).pseudonyms) == (1, 2)


async def test_each_text_of_a_programme_is_a_version_of_its_own(world):
    """A bank stays the same where nothing but the rules was written anew."""
    await world.screen("exam-1")
    known = await looked_at(world)
    [first, second] = known.results
    again = dataclasses.replace(second, programme=digest("another text"))
    rewritten = dataclasses.replace(known, results=[first, again])
    told = {
        device["id"]: {version["type"]["text"]: version["value"] for version in device["version"]}["programme"]
        for device in resources(rewritten, "Device")
    }
    assert sorted(told.values()) == sorted([first.programme, again.programme])
    for one in resources(rewritten, "Observation"):
        theirs = first if one["identifier"][0]["value"] == first.meta.image_id else again
        assert told[one["device"]["reference"].removeprefix("urn:uuid:")] == theirs.programme


async def test_a_camera_far_from_greenwich_keeps_no_exam_from_being_exported(world):
    """FHIR knows no zone beyond 14 hours, and a camera's clock may be set to any."""
    await world.screen("exam-1")
    known = await looked_at(world)
    taken = dt.datetime(2026, 3, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=15)))
    moved = [dataclasses.replace(one, meta=one.meta.model_copy(update={"captured_at": taken})) for one in known.results]
    found = resources(dataclasses.replace(known, results=moved), "Observation")
    assert {dt.datetime.fromisoformat(one["effectiveDateTime"]) for one in found} == {taken}


async def test_a_comment_with_what_no_text_may_hold_is_exported_without_it(world):
    await world.screen("exam-1")
    claim = await world.readings.claim("exam-1", ADA, for_s=900)
    comment = "Exudates,\x0bboth\x00 eyes.\nSee below."
    await world.readings.decide(
        "exam-1", ADA, outcome="refer", urgency="soon", comment=comment, seen=claim.reading.version
    )
    _, found = await exported(world)
    assert "Exudates, both  eyes.\nSee below." in found["DiagnosticReport"][0]["conclusion"]


async def test_each_thing_said_of_an_exam_is_a_sentence_of_its_own(world):
    await world.screen("exam-1")
    claim = await world.readings.claim("exam-1", ADA, for_s=900)
    await world.readings.decide(
        "exam-1", ADA, outcome="clear", urgency="none", comment="Drusen alone", seen=claim.reading.version
    )
    known = await looked_at(world)
    exam = dataclasses.replace(known.exam, decision=decide(DEMO, "exam-1", [Picture("img-1", "R", "macula")]))
    [report] = resources(dataclasses.replace(known, exam=exam), "DiagnosticReport")
    said = ["Reader: no referable finding", "Drusen alone", "Automated screening: pictures are missing"]
    assert report["conclusion"] == " ".join(f"{one}." for one in (*said, *exam.decision.notes))


async def test_outcome_and_urgency_are_two_codes_since_neither_says_the_other(world):
    await world.screen("exam-1")
    claim = await world.readings.claim("exam-1", ADA, for_s=900)
    await world.readings.decide("exam-1", ADA, outcome="refer", urgency="soon", comment="", seen=claim.reading.version)
    _, found = await exported(world)
    codes = [[one["code"] for one in concept["coding"]] for concept in found["DiagnosticReport"][0]["conclusionCode"]]
    assert codes == [["refer"], ["soon"]]
