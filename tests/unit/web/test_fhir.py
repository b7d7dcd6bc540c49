from __future__ import annotations

import dataclasses
import json

import pytest
from fhir.resources.R4B.bundle import Bundle

from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import BEYOND, POINT, uncalibrated
from eyestream.records import Picture
from eyestream.sinks.audit import Entry
from eyestream.testing.contracts_readings import ADA
from eyestream.triage import decide
from eyestream.web import fhir

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
