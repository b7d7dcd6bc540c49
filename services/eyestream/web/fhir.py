"""An exam as FHIR R4: a DiagnosticReport with an Observation for each finding, checked by `fhir.resources`.

DiagnosticReport, Observation, Device and Bundle are the same in R4 and in R4B, whose models the library has. The
subject is the programme's pseudonym, as an identifier: who may resolve it is the programme's own affair. Each
Observation has its own picture's; the report has one only where all pictures agree.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import POINT
from eyestream.records import Decision, Finding, Screening, utc
from eyestream.sinks.base import Exam
from eyestream.sinks.readings import Dossier, Reading
from eyestream.triage import MIXED, scored_only, undecided

MEDIA_TYPE: Final = "application/fhir+json"

_OURS: Final = "urn:eyestream:"
_SPACE: Final = uuid.UUID("6f1d3a52-8a0e-5f0b-9c55-7f0f0c1f5b1e")
_EYES: Final = {
    "R": {"system": "http://snomed.info/sct", "code": "18944008", "display": "Right eye structure"},
    "L": {"system": "http://snomed.info/sct", "code": "8966001", "display": "Left eye structure"},
}
_INTERPRETATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_OUTCOMES: Final = {
    "refer": "refer",
    "clear": "no referable finding",
    "recapture": "cannot be judged: take the pictures again",
    "incomplete": "pictures are missing",
}
_SCORED: Final = "scored, not decided"
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""What FHIR allows in no string."""


def bundle(dossier: Dossier, programme: Programme | None) -> str:
    """The exam as a Bundle in JSON. The same exam in the same state gives the same text, ids included.

    Raises ValueError where the library finds that it is no valid FHIR: a bug of ours.
    """
    from fhir.resources.R4B.bundle import Bundle

    exam, reading, results = dossier.exam, dossier.reading, dossier.results
    newest = _newest(results)
    observations = [(result, finding) for result in newest for finding in (*result.findings, *result.quality)]
    devices = {_device_id(result): _device(result) for result in newest}
    entries = [_report(dossier, newest, observations=observations, programme=programme)]
    entries += [_observation(exam, result, finding, programme) for result, finding in observations]
    document = {
        "resourceType": "Bundle",
        "type": "collection",
        "identifier": {"system": f"{_OURS}exam", "value": exam.exam_id},
        "timestamp": _last_change(exam, reading, results),
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in (*entries, *devices.values())
        ],
    }
    return str(Bundle.model_validate(document).model_dump_json())


def _report(
    dossier: Dossier,
    results: Sequence[Screening],
    *,
    observations: Iterable[tuple[Screening, Finding]],
    programme: Programme | None,
) -> dict[str, Any]:
    exam, reading = dossier.exam, dossier.reading
    name = programme.title if programme else exam.programme
    return _present(
        {
            "resourceType": "DiagnosticReport",
            "id": _id(exam.exam_id),
            "identifier": [{"system": f"{_OURS}exam", "value": exam.exam_id}],
            "status": _status(exam, reading),
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "OTH"}]}],
            "code": {
                "coding": [{"system": f"{_OURS}programme", "code": exam.programme, "display": name}],
                "text": name,
            },
            "subject": _subject(*dossier.pseudonyms) if len(dossier.pseudonyms) == 1 else None,
            "effectiveDateTime": utc(exam.since).isoformat(),
            "issued": _last_change(exam, reading, results),
            "resultsInterpreter": _interpreter(reading),
            "result": [
                {"reference": f"urn:uuid:{_observation_id(exam, result, finding)}"} for result, finding in observations
            ],
            "conclusion": _conclusion(dossier),
            "conclusionCode": _conclusion_codes(exam, reading),
        }
    )


def _status(exam: Exam, reading: Reading) -> str:
    """`preliminary` until a person has read it: the line's own decision is nobody's signature."""
    if reading.state == "decided":
        return "final"
    decision = exam.standing
    if decision is None:
        return "partial"
    waits_for = {eye for eye, status in decision.eyes.items() if status == "missing"} - scored_only(decision)
    return "partial" if decision.outcome == "incomplete" and waits_for else "preliminary"


def _interpreter(reading: Reading) -> list[dict[str, Any]] | None:
    if reading.state != "decided" or reading.verdict is None:
        return None
    return [{"identifier": {"system": f"{_OURS}reader", "value": reading.verdict.by}}]


def _conclusion(dossier: Dossier) -> str | None:
    reading, decision, said = dossier.reading, dossier.exam.standing, []
    if len(dossier.pseudonyms) > 1:
        said.append(MIXED.format(count=len(dossier.pseudonyms)))
    if reading.state == "decided" and reading.verdict is not None:
        verdict = reading.verdict
        said += [f"Reader: {_outcome(verdict.outcome, verdict.urgency)}", verdict.comment.strip()]
    if decision is not None:
        outcome = _outcome(decision.outcome, decision.urgency)
        said += [f"Automated screening: {_SCORED if undecided(decision) else outcome}", *decision.notes]
    return _NO_TEXT.sub(" ", " ".join(map(_sentence, filter(None, dict.fromkeys(said))))) or None


def _sentence(text: str) -> str:
    """So that what one says of the right eye does not run into what the next says of the left."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _outcome(outcome: str, urgency: str) -> str:
    return _OUTCOMES[outcome] + (f", {urgency}" if urgency != "none" else "")


def _conclusion_codes(exam: Exam, reading: Reading) -> list[dict[str, Any]] | None:
    decided = reading.verdict if reading.state == "decided" else exam.standing
    if decided is None:
        return None
    words = _SCORED if isinstance(decided, Decision) and undecided(decided) else _OUTCOMES[decided.outcome]
    # Two concepts: the codings within one would say the same in other words.
    codes = [{"system": f"{_OURS}outcome", "code": decided.outcome, "display": words}]
    if decided.urgency != "none":
        codes.append({"system": f"{_OURS}urgency", "code": decided.urgency, "display": decided.urgency})
    return [{"coding": [code]} for code in codes]


def _observation(exam: Exam, result: Screening, finding: Finding, programme: Programme | None) -> dict[str, Any]:
    condition = programme.condition(finding.condition) if programme else None
    title = condition.title if condition else finding.condition
    meta = result.meta
    eye = _EYES.get(meta.laterality)
    return _present(
        {
            "resourceType": "Observation",
            "id": _observation_id(exam, result, finding),
            "identifier": [{"system": f"{_OURS}image", "value": meta.image_id}],
            "status": "preliminary",
            "category": [
                {
                    "coding": [
                        {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}
                    ]
                }
            ],
            "code": {
                "coding": [{"system": f"{_OURS}condition", "code": finding.condition, "display": title}],
                "text": title,
            },
            "subject": _subject(meta.subject_id),
            "effectiveDateTime": meta.captured_at.astimezone(dt.UTC).isoformat(),
            "valueQuantity": {
                "value": round(float(finding.probability), 6),
                "unit": "probability",
                "system": "http://unitsofmeasure.org",
                "code": "1",
            },
            **_held_against(result, finding, programme),
            "note": _caution(result, finding, programme),
            "bodySite": {"coding": [eye]} if eye else None,
            "method": {"text": f"zero-shot, on the phrase “{finding.prompt}”"},
            "device": {"reference": f"urn:uuid:{_device_id(result)}"},
        }
    )


def _held_against(result: Screening, finding: Finding, programme: Programme | None) -> dict[str, Any]:
    """Whether it was found, and the operating point; nothing where none was measured: no score is negative there.

    Nor is one of a picture that cannot be judged, whatever becomes of the note beside it.
    """
    if finding.operating_point == POINT or (programme is not None and not programme.decides):
        return {}
    point = {"value": round(float(finding.threshold), 6), "system": "http://unitsofmeasure.org", "code": "1"}
    negative = "IND" if _caution(result, finding, programme) else "NEG"
    return {
        "interpretation": [{"coding": [{"system": _INTERPRETATION, "code": "POS" if finding.positive else negative}]}],
        "referenceRange": [{"high": point, "text": f"below the operating point {finding.operating_point}"}],
    }


def _caution(result: Screening, finding: Finding, programme: Programme | None) -> list[dict[str, Any]]:
    """A finding of a picture that cannot be judged, negative above all, must not be read as if it could."""
    if result.ungradable is None or finding in result.quality:
        return []
    condition = programme.condition(result.ungradable) if programme else None
    why = condition.title if condition else result.ungradable
    return [{"text": f"The picture cannot be judged ({why}): this says nothing of the eye."}]


def _device(result: Screening) -> dict[str, Any]:
    """The software: the digests that say exactly with what it judged."""
    versions = {
        "encoder": result.identity.encoder,
        "bank": result.identity.bank,
        "preprocessing": result.preprocessing,
        "programme": result.programme,
    }
    return {
        "resourceType": "Device",
        "id": _device_id(result),
        "deviceName": [{"name": "eyestream", "type": "model-name"}],
        "version": [{"type": {"text": name}, "value": value} for name, value in versions.items()],
    }


def _newest(results: Sequence[Screening]) -> list[Screening]:
    """Of each picture the result stored last, which is the one that speaks for it."""
    latest = {result.meta.image_id: result for result in results}
    return [latest[image_id] for image_id in sorted(latest)]


def _subject(pseudonym: str) -> dict[str, Any]:
    return {"identifier": {"system": f"{_OURS}subject-pseudonym", "value": pseudonym}}


def _last_change(exam: Exam, reading: Reading, results: Sequence[Screening]) -> str:
    times = [exam.since, *(result.timings.stored or 0 for result in results)]
    if reading.verdict is not None:
        times.append(reading.verdict.at)
    return utc(max(times)).isoformat()


def _observation_id(exam: Exam, result: Screening, finding: Finding) -> str:
    return _id(exam.exam_id, result.meta.image_id, str(result.identity), finding.condition)


def _device_id(result: Screening) -> str:
    """Of all four digests: one bank may serve under two texts of its programme."""
    return _id(str(result.identity), result.preprocessing, result.programme)


def _id(*parts: str) -> str:
    return str(uuid.uuid5(_SPACE, "/".join(parts)))


def _present(resource: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty: FHIR knows neither null nor empty lists."""
    return {name: value for name, value in resource.items() if value not in (None, [], "")}
