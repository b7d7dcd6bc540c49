"""A folder with an engine and a bank of scores, made by `eyestream-engines trial`, that the demonstration can run.

trial.json        which model, which programme, and what a person must know before reading the scores
repository/       Triton's model repository, with that one model
programme.toml    what is asked; it has no operating points
banks/            the shelf with its head
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import Screening

FILE, REPOSITORY, PROGRAMME, BANKS = "trial.json", "repository", "programme.toml", "banks"
LOUDEST: Final = 3
"""Scores of one eye that are shown."""
_EYES: Final = {"R": "right", "L": "left", "U": "unknown"}


@dataclass(frozen=True, slots=True)
class Trial:
    """What trial.json holds: the model's name in repository/, the encoder's title, and warnings, a sentence each."""

    model: str
    title: str
    programme: str
    warnings: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Trial:
        """The trial in a folder; raises Misconfigured when it holds none."""
        try:
            return _TRIAL.validate_json((folder / FILE).read_text("utf-8"))
        except (OSError, ValidationError) as error:
            raise Misconfigured(
                f"{folder} is not what `eyestream-engines trial ENCODER --checkpoint FILE` makes: {error}"
            ) from None

    def save(self, folder: Path) -> None:
        """Write trial.json."""
        (folder / FILE).write_bytes(_TRIAL.dump_json(self, indent=1))


_TRIAL: Final = TypeAdapter(Trial)


def warning(trial: Trial) -> str:
    """What stands above the scores."""
    first = (
        f"{trial.title}: nobody has measured operating points for this encoder. These are scores: nothing was "
        "referred, and a low score does not mean that an eye is healthy."
    )
    return " ".join((first, *trial.warnings))


def score_table(programme: Programme, exams: Mapping[str, Sequence[Screening]], stories: Mapping[str, str]) -> Table:
    """The loudest scores of each eye, of its pictures' largest; no decision is in it.

    `stories` say what is known to be in an exam's pictures.
    """
    table = Table(header_style="bold", show_lines=True)
    for name in ("exam", "eye"):
        table.add_column(name, no_wrap=True)
    table.add_column(f"the {LOUDEST} highest scores, not calibrated", overflow="fold", ratio=1)
    table.add_column("what it is", overflow="fold")
    for exam, screenings in exams.items():
        eyes: dict[str, list[Screening]] = defaultdict(list)
        for screening in screenings:
            eyes[screening.meta.laterality].append(screening)
        for eye, pictures in sorted(eyes.items(), reverse=True):
            table.add_row(exam, _EYES[eye], "\n".join(_loudest(programme, pictures)), stories.get(exam, ""))
    return table


def _loudest(programme: Programme, pictures: Iterable[Screening]) -> list[str]:
    best: dict[str, float] = defaultdict(float)
    for picture in pictures:
        for finding in picture.findings:
            best[finding.condition] = max(best[finding.condition], finding.probability)
    titles = {condition.id: condition.title for condition in programme.conditions}
    loudest = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:LOUDEST]
    return [f"{score:.3f} {titles.get(condition, condition)}" for condition, score in loudest]
