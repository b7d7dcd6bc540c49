"""A programme that asks and decides nothing: for an encoder whose operating points nobody has measured.

Thresholds and calibration belong to one encoder: another's probabilities lie elsewhere, and the same threshold would
refer everybody or nobody. Knows no encoder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream.programmes.programme import Condition, Programme

SUFFIX: Final = "-uncalibrated"
"""How the names of such programmes end."""
_NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
POINT: Final = "none"
BEYOND: Final = 0.999999
"""No programme can have a threshold of 1; a score that reaches this is noted and, without an urgency, refers nobody."""


def uncalibrated(programme: Programme) -> Programme:
    """The programme's phrases without its thresholds, calibration, rules and urgencies; quality is only scored, too.

    It does not decide: no exam is referred by it whatever its scores, and none is clear.
    """
    scoring = {
        "scale": programme.scoring.scale,
        "bias": programme.scoring.bias,
        "renormalise": programme.scoring.renormalise,
        "templates": programme.scoring.templates,
    }
    groups = [{"name": group.name, "rest": group.rest} for group in programme.groups]
    days = programme.retention.model_dump()
    rows = map(_asked, programme.conditions)
    return _written(
        f"{programme.name}{SUFFIX}", programme.title, scoring=scoring, conditions=rows, groups=groups, retention=days
    )


def of_labels(name: str, title: str, labels: Sequence[str]) -> Programme:
    """The same for a head that was not made of phrases: its labels are the conditions.

    Raises Misconfigured for a label that cannot name a condition.
    """
    if bad := [label for label in labels if not re.fullmatch(_NAME, label)]:
        told = ", ".join(map(repr, bad))
        raise Misconfigured(f"a label becomes a condition's name: small letters, digits and hyphens, not {told}")
    rows = ({"id": label, "title": _title(label), "positive": [label]} for label in labels)
    days = {"results_days": 30, "embeddings_days": 30}
    return _written(f"{name}{SUFFIX}", title, scoring={}, conditions=rows, groups=[], retention=days)


def _asked(condition: Condition) -> dict[str, Any]:
    row: dict[str, Any] = {"id": condition.id, "title": condition.title, "positive": condition.positive}
    row |= {"suggests": condition.suggests} if condition.suggests else {}
    row |= {"negative": condition.negative} if condition.negative else {}
    row |= {"group": condition.group} if condition.group else {}
    return row | ({"templates": condition.templates} if condition.templates else {})


def _written(
    name: str,
    title: str,
    *,
    scoring: Mapping[str, Any],
    conditions: Iterable[Mapping[str, Any]],
    groups: Iterable[Mapping[str, Any]],
    retention: Mapping[str, Any],
) -> Programme:
    lines = [
        "# Written by eyestream: a programme's phrases for an encoder without operating points. It decides nothing.",
        "schema_version = 1",
        *_values({"name": name, "title": f"{title} (scores only, not calibrated)", "decides": False}),
        *("", "[scoring]", *_values({**scoring, "operating_point": POINT})),
        # A programme must have a scale; nothing here refers with it.
        *("", "[[urgencies]]", *_values({"name": "unused", "title": "Unused", "rank": 1, "within_days": 1})),
        *("", "[retention]", *_values(retention)),
    ]
    for group in groups:
        lines += ["", "[[groups]]", *_values(group)]
    for condition in conditions:
        lines += ["", "[[conditions]]", *_values(condition), f"thresholds = {{ {POINT} = {BEYOND} }}"]
    return Programme.parse("\n".join(lines) + "\n", source=name)


def _values(table: Mapping[str, Any]) -> Iterator[str]:
    """JSON's strings, numbers, booleans and lists of strings are TOML's."""
    return (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())


def _title(label: str) -> str:
    return label.replace("-", " ").capitalize()
