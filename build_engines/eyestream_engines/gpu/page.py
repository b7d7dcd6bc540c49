"""docs/gpu.md and the same for a terminal: pictures a second of every engine, beside its goals. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from eyestream_engines.gpu.records import OF_CEILING, OF_COMPILED, OF_ENGINE, Record, Row
from eyestream_engines.gpu.timing import Rates

_HEAD: Final = f"""# What engines do on a GPU

Written by `make gpu` on a machine with an NVIDIA GPU and TensorRT. It compiles every encoder, holds the plan's answers
against torch in FP32 at each batch, and times five things in turns, on that GPU, in the same rounds:

- **engine**: the plan by TensorRT, alone, its pictures already on the GPU; without CUDA graphs, as Triton runs it.
- **torch.compile**: the same network wholly in FP16, compiled for exactly that batch, its pictures already on the GPU.
  It is held against nothing but that its numbers are finite.
- **Triton**: the same plan, asked as the line asks it: its own client, whole batches over gRPC on the same machine,
  twice as many requests in flight as there are instances. Its answers are held as the plan's are.
- **the ceiling**: the fastest square FP16 matrix product that this GPU was seen to do, of three sizes.
- **its products**: the encoder's own matrix products and convolutions, each as one product, with nothing between them.

Each is worked until it is warm; then they take turns, every round in another order. A figure is the middle round's,
with half of how far the rounds lay apart; a ratio is the middle of the ratios within rounds. Weights are drawn from a
seed: the work is the same whatever they are.

Goals, held at the batch of the most pictures a second: at least {OF_CEILING} of the ceiling, {OF_COMPILED} times as
fast as torch.compile, and through Triton {OF_ENGINE} of the engine alone. A goal that is missed fails nothing; an
answer beyond its bounds does, and what is beyond them is not timed.
"""
_NOT_RUN: Final = """**It did not run yet**: no machine with an NVIDIA GPU was at hand, so no speed is known.
What can be known without one is in [engines.md](engines.md). On a machine that has one:

```
make gpu                            every encoder; goes on where it was ended
make gpu ENCODERS="flair ret-clip"  those alone
make gpu TRITON=/path/tritonserver  with a Triton that is not on the path; its TensorRT must be of the plan's version
make gpu REHEARSE=eyestream-demo    the same steps on a processor, to see that all of it works; keeps nothing
```

It takes `pip install tensorrt` into `.venv-engines`, at the version of the Triton that is to serve. Each encoder is
measured in a process of its own and kept in `build_engines/measured/gpu/`, a folder for each kind of GPU; commit them
with this page. The table that then stands here:
"""
_TERA: Final = 1e12
_MEGA: Final = 1e6
_COLUMNS: Final = (
    "encoder",
    "batch",
    "pictures/s",
    "TFLOP/s",
    "the ceiling, TFLOP/s",
    "of it",
    "of its products",
    "torch.compile, pictures/s",
    "times as fast",
    "Triton, pictures/s",
    "of the engine",
    "answers",
)


def page(records: Sequence[Record]) -> Iterator[str]:
    """The lines of docs/gpu.md; without records it says that it did not run, and what it will tell."""
    yield _HEAD
    if not records:
        yield _NOT_RUN
        yield from _table(())
        return
    for _, group in groupby(records, key=lambda record: record.machine.slug):
        kept = list(group)
        yield f"## {kept[0].machine.gpu or 'a processor, as a rehearsal'}"
        yield ""
        machines = sorted({f"{record.machine.told()}" for record in kept})
        yield f"Measured {' and '.join(_days(kept))} on {'; on '.join(machines)}."
        yield ""
        yield from _table(kept)
        yield ""
        yield from (f"- {line}" for record in kept for line in faults(record))
        yield from (f"- {line}" for line in goals(kept))
        made = [f"{one.encoder} {one.bytes / _MEGA:.0f} MB in {one.compiled_s:.0f} s" for one in kept if one.bytes]
        yield f"- plans: {', '.join(made) or 'none'}"
        yield from _costs(kept)
        yield ""
        yield summary(kept)


def _table(records: Sequence[Record]) -> Iterator[str]:
    yield f"| {' | '.join(_COLUMNS)} |"
    yield f"|{' --- |' * len(_COLUMNS)}"
    for record in records:
        for row in record.rows:
            yield f"| {' | '.join(_cells(record, row))} |"


def _costs(records: Sequence[Record]) -> Iterator[str]:
    """What `eyestream plan --costs` reads of these engines: through Triton where that was measured, else alone."""
    found = [(record, *cost) for record in records if (cost := cost_of(record)) is not None]
    if not found:
        return
    yield ""
    yield "For [the planner](howto/plan-capacity.md): one request holds an instance so long, and each picture in it."
    yield ""
    yield "```toml"
    for record, request_ms, picture_ms in found:
        yield f'[engines."{record.encoder}@{record.machine.short}"]'
        yield f"request_ms = {request_ms:.3f}"
        yield f"picture_ms = {picture_ms:.4f}"
    yield "```"


def cost_of(record: Record) -> tuple[float, float] | None:
    """Milliseconds of a request and of each picture in it, from its smallest and largest batch; None without both."""
    through = [(row.batch, row.served) for row in record.rows if row.served]
    alone = [(row.batch, row.engine) for row in record.rows if row.engine]
    measured = through if len(through) > 1 else alone
    if len(measured) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    (least, slow), (most, fast) = measured[0], measured[-1]
    picture_ms = 1000 * (1 / fast.median - 1 / slow.median) / (most - least)
    return (max(0.0, 1000 / slow.median - least * picture_ms), picture_ms) if picture_ms > 0 else None


def lines(record: Record) -> Iterator[str]:
    """The record for a terminal: a line for each batch, then what is to be said of it."""
    for row in record.rows:
        told = dict(zip(_COLUMNS[1:], _cells(record, row)[1:], strict=True))
        yield f"{record.encoder}: {', '.join(f'{name} {cell}' for name, cell in told.items())}"
    yield from faults(record)


def faults(record: Record) -> Iterator[str]:
    """Whatever was given up, is beyond its bounds, or could not be timed; each with its reason."""
    if record.failed:
        yield f"**{record.encoder} was given up.** {' '.join(record.failed.split())}"
    every = [*record.readings, *(reading for row in record.rows for reading in row.readings)]
    for reading in every:
        if not reading.passed:
            yield f"**{record.encoder} is beyond its bounds.** {reading.told()}"
    said: dict[str, list[str]] = {}
    for row in record.rows:
        for note in row.notes:
            said.setdefault(" ".join(note.split()), []).append(str(row.batch))
    for note, sizes in said.items():
        yield f"{record.encoder}, {', '.join(sizes)} at a time: {note}"


def goals(records: Sequence[Record]) -> Iterator[str]:
    """A line for each goal: how many encoders meet it, and which miss it by how much."""
    best = {record.encoder: row for record in records if (row := record.best) is not None}
    for name, goal, share in (
        (f"at least {OF_CEILING} of the ceiling", OF_CEILING, "of_ceiling"),
        (f"at least {OF_COMPILED} times as fast as torch.compile", OF_COMPILED, "of_compiled"),
        (f"through Triton at least {OF_ENGINE} of the engine", OF_ENGINE, "of_engine"),
    ):
        found: dict[str, float | None] = {key: getattr(row, share) for key, row in best.items()}
        told = {key: value for key, value in found.items() if value is not None}
        missed = {key: value for key, value in told.items() if value < goal}
        parts = [f"met by {len(told) - len(missed)}"]
        if missed:
            parts.append(f"**missed** by {len(missed)} ({', '.join(f'{key} {_short(missed[key])}' for key in missed)})")
        if unmeasured := len(records) - len(told):
            parts.append(f"not measured of {unmeasured}")
        yield f"goal {name}: {', '.join(parts)}"


def summary(records: Sequence[Record]) -> str:
    """The last line."""
    timed = [record for record in records if record.best]
    failed = [record for record in records if not record.held]
    where = " and ".join(sorted({record.machine.gpu or "REHEARSAL on a processor" for record in records}))
    return (
        f"gpu: {where}: {len(records)} encoders, {len(records) - len(failed)} held, {len(timed)} timed, "
        f"{len(failed)} failed"
    )


def _days(records: Sequence[Record]) -> list[str]:
    days = sorted({record.day for record in records})
    return days if len(days) < 3 else [f"from {days[0]}", f"to {days[-1]}"]  # noqa: PLR2004 - two are named


def _cells(record: Record, row: Row) -> list[str]:
    answers = [reading for reading in row.readings if not reading.passed]
    return [
        record.encoder,
        str(row.batch),
        _pictures(row.engine, row.batch),
        _short(row.flops * row.engine.median / _TERA if row.engine else None),
        _short(row.ceiling.median / _TERA if row.ceiling else None),
        _short(row.of_ceiling),
        _short(row.of_products),
        _pictures(row.compiled, row.batch) + (" (not compiled)" if row.eager else ""),
        _short(row.of_compiled),
        _pictures(row.served, row.batch),
        _short(row.of_engine),
        "–" if not row.readings else "**beyond their bounds**" if answers else "held",
    ]


def _pictures(rates: Rates | None, batch: int) -> str:
    """With how far the rounds lay apart, for a figure that jumps is none."""
    if rates is None:
        return "–"
    return f"{_short(batch * rates.median)} ± {50 * rates.spread:.0f} %"


def _short(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
