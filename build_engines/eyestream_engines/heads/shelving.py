"""A head that was made from a checkpoint, and the programme that it serves, on a shelf of banks. Knows no model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eyestream.banks.head import ScoreHead
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import Digest


def publish(head: ScoreHead, programme: Programme, shelf: Path, *, activate: bool = False) -> Digest:
    """Keep both on the shelf, and put them into service where told to; the digest of the head as it lies there.

    Raises Misconfigured when they do not belong together, or the shelf cannot be written.
    """
    fitted, on = fit(head, programme), Shelf(shelf)
    try:
        on.publish(programme, fitted)
        if activate:
            on.activate(programme.name, fitted.digest)
    except OSError as error:
        raise Misconfigured(f"the bank cannot be written to {shelf}: {error.strerror}") from None
    return fitted.digest


def fit(head: ScoreHead, programme: Programme) -> ScoreHead:
    """The head with the programme's order, operating points and calibration, and what it calls a matter of quality.

    A head of texts has them already; a classifier's and a probe's come without any. Raises Misconfigured when the
    programme's conditions are not the head's classes.
    """
    judges = {judge.condition: judge for judge in head.judges}
    if judges.keys() != {condition.id for condition in programme.conditions}:
        raise Misconfigured(
            f"the classes are {', '.join(judges)}, and the conditions of {programme.name!r} are "
            f"{', '.join(condition.id for condition in programme.conditions)}: they must have the same names"
        )
    read = (
        replace(
            judges[condition.id],
            role=condition.role,
            thresholds=dict(condition.thresholds),
            operating_point=programme.operating_point(condition),
            a=condition.calibration.a,
            c=condition.calibration.b,
        )
        for condition in programme.conditions
    )
    return ScoreHead(head.views, head.rows, tuple(read), replace(head.provenance, programme=programme.name))
