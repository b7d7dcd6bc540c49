"""Exams, pictures and counters as tables and words for people. Nothing in them identifies a patient; knows no sink."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eyestream.programmes import NO_ACTION, Programme, available
from eyestream.records import Decision, Finding, Picture, Reason, Screening, utc
from eyestream.sinks.base import Decided, Exam
from eyestream.triage import scored_only, undecided

_EYES: Final = {"R": "right", "L": "left", "U": "unknown eye"}
_STYLES: Final = {"refer": "bold red", "recapture": "yellow", "incomplete": "dim", "clear": "green"}
_OUTCOMES: Final = {
    "refer": "refer",
    "recapture": "take again",
    "incomplete": "waiting for pictures",
    "clear": "clear",
}
_SCORED: Final = "scored, not decided"
"""In place of `incomplete` where the programme does not decide: no picture is waited for."""
_COUNTED: Final = {
    "stored": "pictures stored",
    "duplicate": "pictures that came again",
    "conflict": "pictures judged differently the second time",
    "unreadable": "pictures that could not be read",
    "refer": "exams to refer",
    "recapture": "exams to take again",
    "incomplete": "exams waiting for pictures",
    "clear": "exams clear",
}


def exam_table(exams: Iterable[Exam], *, programmes: Mapping[str, Programme] | None = None) -> Table:
    """Exams as a table a clinician can read; nothing in it identifies a patient.

    `programmes` gives titles to conditions and urgencies; those built in are known, and any other keeps its slugs.
    """
    table = Table(title="Exams", title_justify="left", header_style="bold", show_lines=True)
    for name in ("exam", "decision", "eyes"):
        table.add_column(name, overflow="fold")
    table.add_column("why", overflow="fold", ratio=1)
    for exam_ in exams:
        programme = _programme(exam_.programme, programmes)
        decision = exam_.standing
        if decision is None:
            table.add_row(exam_.exam_id, Text("not decided yet", style="dim"), "", "")
            continue
        scored = scored_only(decision)
        words = _SCORED if undecided(decision) else _OUTCOMES[decision.outcome]
        outcome = Text(words, style=_STYLES[decision.outcome])
        if decision.urgency != NO_ACTION:
            outcome.append(f"\n{_urgency_title(programme, decision.urgency)}", style="default not bold")
        table.add_row(
            exam_.exam_id,
            outcome,
            _lines(f"{_EYES[eye]}: {'scored' if eye in scored else decision.eyes.get(eye, '–')}" for eye in "RL"),
            _lines([*(why(reason, programme) for reason in decision.reasons), *_notes(exam_, decision)]),
        )
    return table


def why(reason: Reason, programme: Programme | None) -> str:
    """One finding in one sentence: what, where, on which words, and which probability against which operating point."""
    finding = reason.finding
    return (
        f"{_condition_title(programme, finding.condition)}, {_EYES[reason.laterality]}: "
        f"{_percent(finding)} ({finding.operating_point}) on “{finding.prompt}”"
    )


def event_line(event: Decided, *, programmes: Mapping[str, Programme]) -> str:
    """One decision in one line: when, which exam, what and how soon."""
    programme = _programme(event.programme, programmes)
    waits = programme is None or programme.decides
    words = _OUTCOMES.get(event.outcome, event.outcome) if waits or event.outcome != "incomplete" else _SCORED
    urgency = _urgency_title(programme, event.urgency)
    return f"{utc(event.at):%H:%M:%S}  {event.exam_id}  {words}  {urgency}"


def count_table(
    programme: str, date: dt.date, found: Mapping[str, int], *, programmes: Mapping[str, Programme] | None = None
) -> Table:
    """A day's counters by what they mean."""
    known = _programme(programme, programmes)
    table = Table(title=f"{_title(programme, known)}, {date} (UTC)", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    scored = {} if known is None or known.decides else {"incomplete": f"exams {_SCORED}"}
    for name, words in (_COUNTED | scored).items():
        table.add_row(words, f"{found.get(name, 0):,}")
    return table


def picture_table(
    exam_: Exam, screenings: Sequence[Screening], *, programmes: Mapping[str, Programme] | None = None
) -> Table:
    """One exam's pictures: what was found in each, how it was judged and with what."""
    programme = _programme(exam_.programme, programmes)
    table = Table(title=f"Pictures of {exam_.exam_id}", title_justify="left", header_style="bold", show_lines=True)
    for name in ("image", "eye", "field", "found", "judged with", "site, device", "stored (UTC)"):
        table.add_column(name, overflow="fold")
    for result in screenings:
        meta, stored = result.meta, result.timings.stored
        table.add_row(
            meta.image_id,
            _EYES[meta.laterality],
            meta.field,
            _lines(_found(result, programme)),
            f"encoder {result.identity.encoder[:12]}\nbank {result.identity.bank[:12]}",
            f"{meta.site_id}, {meta.device_id}",
            f"{utc(stored):%Y-%m-%d %H:%M:%S}" if stored else "",
        )
    for note in exam_.unreadable:
        meta = note.meta
        words = f"unreadable ({note.reason}): {note.explanation}"
        table.add_row(
            meta.image_id, _EYES[meta.laterality], meta.field, words, "", f"{meta.site_id}, {meta.device_id}", ""
        )
    return table


def _found(result: Screening, programme: Programme | None) -> Iterable[str]:
    if result.ungradable is not None:
        judged = next((one for one in result.quality if one.condition == result.ungradable), None)
        sure = f" {_percent(judged)}" if judged else ""
        yield f"cannot be judged: {_condition_title(programme, result.ungradable)}{sure}"
    for finding in sorted(result.findings, key=lambda finding: -finding.probability):
        mark = "▸ " if finding.positive else ""
        decides = programme is None or programme.decides
        number = _percent(finding) if decides else f"{finding.probability:.1%}"
        yield f"{mark}{_condition_title(programme, finding.condition)} {number}"


def _notes(exam_: Exam, decision: Decision) -> Iterable[str]:
    yield from decision.notes
    if not decision.notes:
        for picture in exam_.pictures:
            if said := _said(picture):
                yield f"{_EYES[picture.laterality]}, {picture.image_id}: {said}"


def _said(picture: Picture) -> str | None:
    if picture.unreadable is not None:
        return f"unreadable ({picture.unreadable})"
    return None if picture.ungradable is None else f"cannot be judged ({picture.ungradable})"


def _percent(finding: Finding) -> str:
    sign = "≥" if finding.positive else "<"
    return f"{finding.probability:.1%} {sign} {finding.threshold:.1%}"


def _lines(lines: Iterable[str]) -> RenderableType:
    # What devices and prompts say is shown as it is: square brackets are no markup.
    return Text("\n".join(lines))


def _programme(name: str, known: Mapping[str, Programme] | None) -> Programme | None:
    if known is not None and name in known:
        return known[name]
    return Programme.builtin(name) if name in available() else None


def _title(name: str, programme: Programme | None) -> str:
    return escape(programme.title if programme else name)


def _condition_title(programme: Programme | None, condition_id: str) -> str:
    condition = programme.condition(condition_id) if programme else None
    return condition.title if condition else condition_id


def _urgency_title(programme: Programme | None, urgency: str) -> str:
    steps = programme.urgencies if programme else ()
    return next((step.title for step in steps if step.name == urgency), "–" if urgency == "none" else urgency)
