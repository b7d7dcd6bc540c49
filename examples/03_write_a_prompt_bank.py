"""Write a prompt bank, publish it, swap it while a line is reading, and decide an exam with it.

Runs anywhere in a second: a text encoder without a model stands in for the real tower, and captions for pictures.

    python examples/03_write_a_prompt_bank.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from eyestream.banks.build import build
from eyestream.banks.shelf import Bank, Shelf
from eyestream.programmes import Programme
from eyestream.records import Picture, digest
from eyestream.scoring import score
from eyestream.testing.texts import FakeTextEncoder
from eyestream.triage import decide

ENCODER, PREPROCESSING = digest("the image encoder's checkpoint"), digest("its preprocessing")

PROGRAMME = """
schema_version = 1
name = "macula"
title = "Macula check"

[scoring]
scale = 20.0
templates = ["{}", "a fundus photograph showing {}"]

[[urgencies]]
name = "soon"
title = "Within four weeks"
rank = 2
within_days = 28

[[urgencies]]
name = "routine"
title = "Within thirteen weeks"
rank = 1
within_days = 91

[[conditions]]
id = "drusen"
title = "Drusen"
positive = ["drusen", "soft yellow spots"]
negative = ["a healthy macula"]
urgency = "routine"

[[conditions]]
id = "blur"
title = "Out of focus"
role = "quality"
positive = ["a blurred picture"]
negative = ["a sharp picture"]
"""

ONE_MORE_DISEASE = """
[[conditions]]
id = "macular-hole"
title = "Macular hole"
positive = ["a macular hole", "a round red gap in the fovea"]
negative = ["a healthy macula"]
urgency = "soon"
"""


def show(bank: Bank, tower: FakeTextEncoder) -> None:
    """Judge the two eyes of one exam, each through a caption, and print the decision."""
    captions = {"R": "a sharp picture of a healthy macula", "L": "a sharp picture, a round red gap in the fovea"}
    judgements = score(bank.head, tower.encode(list(captions.values())))
    right, left = judgements
    pictures = [
        Picture("right", "R", "macula", right.findings, right.ungradable),
        Picture("left", "L", "macula", left.findings, left.ungradable),
    ]
    decision = decide(bank.programme, "exam-1", pictures)
    print(f"{bank.programme.title}, bank {bank.head.digest[:12]}: {decision.outcome} ({decision.urgency})")
    for reason in decision.reasons:
        found = reason.finding
        print(
            f"  {reason.laterality}: {found.condition}, {found.probability:.2f} against {found.threshold:.2f} "
            f"({found.operating_point}), for {found.prompt!r}"
        )


def main() -> None:
    tower = FakeTextEncoder(256)
    first = Programme.parse(PROGRAMME, source="macula.toml")
    second = Programme.parse(PROGRAMME + ONE_MORE_DISEASE, source="macula.toml")
    with tempfile.TemporaryDirectory() as folder:
        shelf, line = Shelf(Path(folder)), Shelf(Path(folder))
        for programme in (first, second):
            head = build(programme, tower, encoder_digest=ENCODER, preprocessing_digest=PREPROCESSING)
            shelf.activate("macula", shelf.publish(programme, head))
            banks = line.open(ENCODER, PREPROCESSING) if programme is first else line.poll()
            show(banks["macula"], tower)
        print(
            "swapped without a restart;", len(shelf.history("macula")), "banks served, the older can be rolled back to"
        )


if __name__ == "__main__":
    main()
