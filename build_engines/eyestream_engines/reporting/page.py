"""docs/engines.md: one row an encoder, every number measured and beside its bound. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from eyestream_engines import trial
from eyestream_engines.cases import NO_ENCODERS, PARITY, Case
from eyestream_engines.gates import Reading
from eyestream_engines.reporting.records import Record, Row
from eyestream_engines.spec import EncoderFile, Tolerance, names
from eyestream_engines.verifying import TRITON

ORIGINAL, PREPARATION = "original ", "preprocessing, grey levels"
GRAPH, FP16 = "graph in FP32", "FP16, rounded as a GPU does"
"""What the gates call themselves."""
_HEAD = """# What every engine measured

Written by `make engines-report`, which goes on where it was ended: each parity case is measured once, in a process of
its own, kept in `build_engines/measured/`, and measured again when code, packages, description or case change.

No published weights are ours to have: each network is filled from a seed, on which its authors' own code was run, so
every figure is of such weights; trained ones give other figures in FP16, and a build measures them again.

- **original**: torch in FP32 against the authors' code, the largest difference of any stored array.
- **FP32 graph**: the exported graph against torch, the largest difference in units of the vectors' root mean square.
- **FP16**: the strongly typed graph with every stored number rounded as a GPU does, against torch in FP32, on the worst
  picture: largest difference in the same units, cosine, and rank agreement of its scores over a bank of 256 directions.
- **Triton**: the same of what the real Triton Inference Server answered over gRPC, on a processor.
- **plan**: TensorRT for RTX, compiled without a GPU for compute capability {compute}: seconds here, and its size.

Encoders in one row are the same network with other weights. Each figure stands before its bound. Nothing here was run
on a GPU: `make gpu` does that, where there is one. The last line counts rows: a case may hold several networks, and
`flair_adapters` holds heads alone, which stand on FLAIR's engine.
"""
_COLUMNS = (
    "encoder",
    "parity case",
    "parameters",
    "GMACs",
    "original",
    "FP32 graph",
    "FP16: difference",
    "cosine",
    "rank",
    "Triton: difference",
    "rank",
    "plan",
    "scores from",
    "licence",
)
_WITHOUT = {
    "published": "it is this project's own, and its own original.",
    "inferred": "its authors' code was not run.",
    "assumed": "nothing of it is published; its network is that of the layout it is assumed to have.",
}
_FROM = {"texts": "texts", "classifier": "its classifier", "mask": "nothing: masks", "": "a probe"}


@dataclass(frozen=True, slots=True)
class State:
    """All cases in order, what was measured of each, and why one was not."""

    cases: Sequence[str]
    records: Mapping[str, Record]
    stale: Mapping[str, Record]


def page(state: State, *, compute: str) -> Iterator[str]:
    """The lines of docs/engines.md."""
    yield _HEAD.format(compute=compute)
    yield f"| {' | '.join(_COLUMNS)} |"
    yield f"|{' --- |' * len(_COLUMNS)}"
    for case in state.cases:
        if record := state.records.get(case):
            for row in record.rows:
                yield f"| {' | '.join(_cells(case, row))} |"
    yield ""
    machines = sorted({record.machine for record in state.records.values()})
    told = "; ".join(machines) or "no machine yet"
    yield f"Measured on {told}, one thread, beside other work: seconds are no benchmark."
    yield ""
    for case in state.cases:
        if record := state.records.get(case):
            for row in record.rows:
                yield from _faults(case, row)
    yield from _left_out(state)
    yield ""
    yield summary(state)


def _left_out(state: State) -> Iterator[str]:
    """What has no row, and why."""
    for case in state.cases:
        if case in NO_ENCODERS:
            yield f"- `{case}` is not built: {NO_ENCODERS[case]}"
        elif case in state.stale:
            yield f"- **`{case}` was not run** since code, packages or the case changed."
        elif case not in state.records:
            yield f"- **`{case}` was not run.**"
    for encoder in map(EncoderFile.load, names()):
        if encoder.parity is None:
            yield f"- `{encoder.name}` has no parity case: {_WITHOUT[encoder.evidence]}"


def summary(state: State) -> str:
    """The last line."""
    rows = [row for record in state.records.values() for row in record.rows]
    bound = [bounded(row) for row in rows]
    held = [{reading.gate: reading.passed for reading in readings} for readings in bound]
    parity = sum(bool(gates) and all(ok for gate, ok in gates.items() if gate.startswith(ORIGINAL)) for gates in held)
    half = sum(gates.get(FP16, False) for gates in held)
    served = sum(gates.get(TRITON, False) for gates in held)
    plans = sum(row.plan is not None and not row.plan.refused for row in rows)
    failed = sum(broken(row) for row in rows)
    left = [case for case in state.cases if case not in state.records and case not in NO_ENCODERS]
    counts = f"{parity} parity, {half} fp16, {plans} plans, {served} served, {failed} failed"
    return f"engines: {len(state.cases)} cases, {counts}" + (f", {len(left)} not run" if left else "")


def broken(row: Row) -> bool:
    """Whether the encoder was given up, or a number is beyond its bound."""
    return bool(row.failed) or not all(reading.passed for reading in bounded(row))


def bounded(row: Row) -> list[Reading]:
    """The row's readings against the bounds that its encoder's TOML states now."""
    bounds = _described(row.encoder).tolerance
    return [_bounded(reading, bounds) for reading in row.readings]


def _bounded(reading: Reading, bounds: Tolerance) -> Reading:
    if reading.gate == PREPARATION:
        return reading
    if reading.gate.startswith(ORIGINAL):
        return replace(reading, absolute_bound=bounds.original)
    if reading.gate == GRAPH:
        return replace(reading, absolute_bound=bounds.graph)
    return replace(reading, absolute_bound=bounds.half, cosine_bound=bounds.cosine, rank_bound=bounds.rank)


def _described(name: str) -> EncoderFile:
    small = PARITY / name.replace("-", "_") / "encoder.toml"
    return EncoderFile.read(small) if small.exists() else EncoderFile.load(name)


def _cells(case: str, row: Row) -> Iterator[str]:
    encoder = _described(row.encoder)
    readings = {reading.gate: reading for reading in bounded(row)}
    originals = [reading for gate, reading in readings.items() if gate.startswith(ORIGINAL)]
    half, served = readings.get(FP16), readings.get(TRITON)
    yield ", ".join((row.encoder, *_alike(case, encoder)))
    yield case
    yield f"{row.parameters / 1e6:.1f} M" if row.parameters else "–"
    yield f"{row.gmacs:,.3g}" if row.gmacs else "–"
    yield _difference(max(originals, key=lambda reading: reading.absolute, default=None))
    yield _difference(readings.get(GRAPH))
    yield _difference(half)
    yield _floor(half.cosine, half.cosine_bound, digits=7) if half else "–"
    yield _floor(half.rank, half.rank_bound, digits=5) if half else "–"
    yield _difference(served)
    yield _floor(served.rank, served.rank_bound, digits=5) if served else "–"
    yield _plan(row)
    yield _FROM[trial.scores_from(encoder)]
    yield encoder.licence


def _alike(case: str, encoder: EncoderFile) -> list[str]:
    """The encoders that the case cannot tell from this one: the same network, of other weights."""
    same = {"architecture", "checkpoint", "output", "text"}
    facts = encoder.model_dump(include=same)
    others = (other for other in Case.open(PARITY / case).encoders if other.name != encoder.name)
    return [other.name for other in others if encoder.parity == case and other.model_dump(include=same) == facts]


def _difference(reading: Reading | None) -> str:
    if reading is None:
        return "–"
    told = f"{reading.absolute:.1e} ≤ {reading.absolute_bound:.0e}"
    return told if reading.absolute <= reading.absolute_bound else f"**{told.replace('≤', '>')}**"


def _floor(value: float | None, bound: float | None, *, digits: int) -> str:
    if value is None or bound is None:
        return "–"
    told = f"{value:.{digits}f} ≥ {bound:g}"
    return told if value >= bound else f"**{told.replace('≥', '<')}**"


def _plan(row: Row) -> str:
    if row.plan is None:
        return "–"
    if row.plan.refused:
        return "**refused**"
    return f"{row.plan.seconds:.0f} s, {row.plan.bytes / 1e6:.0f} MB"


def _faults(case: str, row: Row) -> Iterator[str]:
    if row.failed:
        yield f"- **`{case}`, {row.encoder}: given up.** {' '.join(row.failed.split())}"
    if row.plan is not None and row.plan.refused:
        yield f"- **`{case}`, {row.encoder}: no plan.** {' '.join(row.plan.refused.split())}"
    for reading in bounded(row):
        if not reading.passed:
            yield f"- **`{case}`, {row.encoder}: beyond a bound.** {reading.told()}"
