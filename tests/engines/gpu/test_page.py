"""The page and the last lines: figures beside goals, and every fault with its reason."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from eyestream.planning.costs import Engine, work
from eyestream_engines.cases import PARITY
from eyestream_engines.gates import Reading
from eyestream_engines.gpu import records
from eyestream_engines.gpu.machine import Machine
from eyestream_engines.gpu.page import cost_of, goals, page, summary
from eyestream_engines.gpu.records import Record, Row
from eyestream_engines.gpu.timing import Rates

CARD = Machine(
    "NVIDIA L4", "8.9", "23034 MiB", "580.1", "72.00 W", "2040 MHz", "tensorrt", "11.4.0", "2.15.0", "8 processors"
)
GOOD = Reading("engine, 8 at a time", 1e-3, 3e-2, 0.99999, 0.9999, 0.999, 0.99)


def rates(value):
    return Rates((value * 0.99, value, value * 1.01))


def row(batch=8, *, engine=100.0, compiled=50.0, served=97.0, **changes):
    """100 batches of 10^12 operations a second under a ceiling of 1.25 × 10^14."""
    found = Row(batch, 10**12, (GOOD,), rates(engine), rates(compiled), rates(served), rates(110.0), rates(1.25e14))
    return dataclasses.replace(found, **changes)


def record(name="flair", *rows, **changes):
    return dataclasses.replace(Record(name, CARD, "2026-11-26", "same", (GOOD,), rows or (row(),)), **changes)


def test_a_row_tells_figures_with_their_spread_and_ratios():
    (line,) = [line for line in page([record()]) if line.startswith("| flair")]
    assert line == "| flair | 8 | 800 ± 1 % | 100 | 125 | 0.8 | 0.909 | 400 ± 1 % | 2 | 776 ± 1 % | 0.97 | held |"


def test_the_machine_is_told_with_its_figures():
    told = "\n".join(page([record()]))
    for fact in (
        "NVIDIA L4",
        "23034 MiB",
        "limit 72.00 W",
        "2040 MHz",
        "driver 580.1",
        "tensorrt 11.4.0",
        "2026-11-26",
    ):
        assert fact in told


def test_plans_are_told_with_their_size_and_what_they_took():
    told = page([record(bytes=50_400_000, compiled_s=34.2), record("gone", failed="refused")])
    assert "- plans: flair 50 MB in 34 s" in list(told)


def test_what_the_planner_needs_is_told_as_it_reads_it():
    # A request takes 2 ms and each picture half of one.
    rows = [row(batch, served=1000 / (2 + 0.5 * batch), engine=1000 / (1 + 0.5 * batch)) for batch in (1, 8, 16)]
    told = list(page([record("flair", *rows)]))
    begin = told.index("```toml")
    table = tomllib.loads("\n".join(told[begin + 1 : told.index("```", begin)]))
    engine = Engine.model_validate(table["engines"]["flair@l4"])
    assert (engine.request_ms, engine.picture_ms) == pytest.approx((2.0, 0.5))


def test_without_triton_the_planner_is_told_of_the_engine_alone():
    rows = [row(batch, engine=1000 / (1 + 0.5 * batch)) for batch in (1, 8)]
    bare = record("flair", *(dataclasses.replace(each, served=None) for each in rows))
    assert cost_of(bare) == pytest.approx((1.0, 0.5))
    assert cost_of(record("flair", row(8))) is None


@pytest.mark.parametrize(
    ("product", "short"),
    [("NVIDIA L4", "l4"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-40GB", "a100"), ("A GPU", "a-gpu")],
)
def test_a_gpu_has_the_name_that_the_planner_gives_it(product, short):
    assert dataclasses.replace(CARD, gpu=product).short == short
    assert short in work().tflops or product == "A GPU"


def test_goals_are_held_at_the_batch_of_most_pictures_and_misses_are_named():
    slow = record("slow", row(1, engine=10.0), row(8, engine=50.0, served=45.0))
    ceiling, compiled, served = goals([record(), slow])
    assert ceiling == "goal at least 0.6 of the ceiling: met by 1, **missed** by 1 (slow 0.4)"
    assert compiled == "goal at least 1.3 times as fast as torch.compile: met by 1, **missed** by 1 (slow 1)"
    assert served == "goal through Triton at least 0.95 of the engine: met by 1, **missed** by 1 (slow 0.9)"


def test_what_was_not_measured_neither_meets_nor_misses():
    bare = record("bare", dataclasses.replace(row(), served=None, eager=True))
    _, compiled, served = goals([bare])
    assert compiled.endswith("met by 0, not measured of 1")
    assert served.endswith("met by 0, not measured of 1")


def test_a_missed_goal_fails_nothing_and_an_answer_beyond_its_bounds_does():
    assert summary([record("slow", row(engine=1.0))]).endswith("1 held, 1 timed, 0 failed")
    wrong = row(readings=(dataclasses.replace(GOOD, absolute=1.0),))
    found = [record(), record("wrong", wrong), record("gone", failed="its process was ended by signal 9")]
    assert summary(found) == "gpu: NVIDIA L4: 3 encoders, 1 held, 3 timed, 2 failed"
    told = "\n".join(page(found))
    assert "**wrong is beyond its bounds.** engine, 8 at a time: largest difference 1.00e+00" in told
    assert "**gone was given up.** its process was ended by signal 9" in told


def test_a_note_of_several_batches_is_told_once():
    told = list(page([record("flair", row(8, notes=("Triton: none",)), row(16, notes=("Triton: none",)))]))
    assert "- flair, 8, 16 at a time: Triton: none" in told


def test_two_kinds_of_gpu_stand_side_by_side():
    other = record(machine=dataclasses.replace(CARD, gpu="NVIDIA H100"))
    heads = [line for line in page([record(), other]) if line.startswith("## ")]
    assert heads == ["## NVIDIA L4", "## NVIDIA H100"]


def test_a_record_is_kept_with_its_gpu_and_read_back(tmp_path):
    record().save(tmp_path)
    (found,) = records.every(tmp_path)
    assert found == record()
    assert (tmp_path / "nvidia-l4" / "flair.json").exists()


@pytest.mark.parametrize("text", ['{"encoder": "fla', "[]"])
def test_a_damaged_record_is_none(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    assert records.kept(path) is None


def test_the_page_of_the_repository_tells_what_is_kept_in_it():
    shown = Path(PARITY.parents[1], "docs", "gpu.md").read_text()
    kept = list(records.every(records.MEASURED))
    assert shown == "\n".join(page(kept)) + "\n", "write it anew: `eyestream-engines gpu` on a machine with a GPU"
    assert ("**It did not run yet**" in shown) == (not kept)
