"""`eyestream plan`: how many GPUs, workers and partitions a programme needs, and what its busiest hour does to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from eyestream.planning import bench
from eyestream.planning import costs as costs_module
from eyestream.planning.costs import ASSUMED_EFFICIENCY, Costs, Engine
from eyestream.planning.demand import HOUR_S, Demand, usual_megabytes
from eyestream.planning.layout import Layout
from eyestream.planning.simulation import Outcome, Simulation
from eyestream.planning.sizing import Keeping, Storage, layout, storage

MOST_PICTURES: Final = 20_000
"""How many pictures are simulated at the most: more say the same, and take longer to say it."""

_SEED: Final = 1
"""Of the arrivals: the same plan twice is the same plan."""

PerDay = Annotated[int, typer.Option(min=1, help="Pictures on a working day.")]
Share = Annotated[float, typer.Option(min=0.042, max=1, help="Share of them within the busiest hour.")]
Megapixels = Annotated[float, typer.Option(min=0.1, help="Size of a picture, in megapixels.")]
Megabytes = Annotated[
    float | None, typer.Option(min=0.01, help="Size of its file, in 10⁶ bytes; two bits a pixel unless given.")
]
PerExam = Annotated[int, typer.Option(min=1, help="Pictures that a device sends at once.")]
Encoder = Annotated[str, typer.Option(help="The encoder, as `eyestream-engines list` names it.")]
Gpu = Annotated[str, typer.Option(help="What serves it: a GPU, or another word that --costs knows.")]
CostsFile = Annotated[
    Path | None,
    typer.Option("--costs", help="Measured costs, instead of those that ship: TOML, or the JSON of `make bench`."),
]
Load = Annotated[float, typer.Option(min=0.05, max=0.95, help="How hard a part may work at the peak.")]
WorkerCores = Annotated[int, typer.Option(min=1, help="Processor cores of one worker.")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures in one request to the engine.")]
Plot = Annotated[Path | None, typer.Option(help="Draw the busiest hour into this file (.svg, .png or .pdf).")]


def plan(
    pictures_per_day: PerDay,
    *,
    peak_hour_share: Share = 0.2,
    megapixels: Megapixels = 10.0,
    megabytes: Megabytes = None,
    pictures_per_exam: PerExam = 4,
    encoder: Encoder = "retfound-cfp",
    gpu: Gpu = "h100",
    costs: CostsFile = None,
    load: Load = 0.7,
    worker_cores: WorkerCores = 2,
    max_batch: Batch = 32,
    kafka_days: Annotated[float, typer.Option(min=0.1, help="Days that Kafka keeps pictures.")] = 3.0,
    replicas: Annotated[int, typer.Option(min=1, help="Kafka's copies of each.")] = 3,
    results_days: Annotated[float, typer.Option(min=1, help="Days that Redis keeps results.")] = 365.0,
    archive_days: Annotated[float, typer.Option(min=0, help="Days that pictures are archived.")] = 3650.0,
    plot: Plot = None,
) -> None:
    """Size a line for a programme, and simulate its busiest hour."""
    known = bench.read(costs, encoder) if costs and costs.suffix == ".json" else costs_module.load(costs)
    size = usual_megabytes(megapixels) if megabytes is None else megabytes
    demand = Demand(
        pictures_per_day=pictures_per_day,
        peak_hour_share=peak_hour_share,
        megapixels=megapixels,
        megabytes=size,
        pictures_per_exam=pictures_per_exam,
    )
    engine = known.engine(encoder, gpu)
    chosen = layout(demand, known, engine, load=load, cores=worker_cores, max_batch=max_batch)
    keeping = Keeping(kafka_days, replicas, results_days, archive_days)
    console = Console()
    console.print(_assumptions(demand, known, engine, f"{encoder} on {gpu}", load=load))
    console.print(_needed(chosen, storage(demand, known, keeping), keeping, gpu))
    seconds = min(HOUR_S, MOST_PICTURES / demand.peak_per_s)
    arrivals = list(demand.exams(seconds, _SEED))
    if not arrivals:
        console.print("In the hour that was to be simulated nobody came: so little to do leaves every part idle.")
        return
    with console.status(f"simulating {seconds / 60:.0f} minutes of the busiest hour"):
        outcome = Simulation(demand, known, engine, chosen).run(arrivals)
    _tell(console, outcome, seconds, plot)


def _assumptions(demand: Demand, known: Costs, engine: Engine, what: str, *, load: float) -> Table:
    table = Table(title="Assumed", title_justify="left", show_header=False)
    table.add_row("busiest hour", f"{demand.peak_per_s:.1f} pictures a second, exams of {demand.pictures_per_exam}")
    table.add_row("a picture", f"{demand.megapixels:g} megapixels, {demand.megabytes:g} MB")
    table.add_row("costs", known.source)
    table.add_row("decoding", f"{known.decode_ms(demand.megapixels):.1f} ms of a core for a picture")
    said = f"{engine.request_ms:g} ms a request and {engine.picture_ms:.3g} ms a picture"
    if not engine.measured:
        said += (
            f"\n[bold]not measured[/]: the encoder's arithmetic at {ASSUMED_EFFICIENCY:.0%} of the data sheet's peak;"
            f" measure it there and write it into --costs"
        )
    table.add_row(what, said)
    table.add_row("at the peak", f"every part works {load:.0%} of its time or less")
    return table


def _needed(chosen: Layout, fills: Storage, keeping: Keeping, gpu: str) -> Table:
    table = Table(title="Needed", title_justify="left", show_header=False)
    table.add_row(f"engine instances ({gpu})", f"{chosen.instances}, and one more if none may be missed")
    table.add_row("workers", f"{chosen.workers} of {chosen.cores} cores")
    table.add_row("partitions", f"{chosen.partitions}")
    table.add_row(
        "settings", f"line.max_batch={chosen.max_batch} line.depth={chosen.depth} line.decoders={chosen.decoders}"
    )
    table.add_row("Kafka's disks", f"{_size(fills.kafka)} ({keeping.kafka_days:g} days, {keeping.replicas} copies)")
    table.add_row(
        "Redis's memory", f"{_size(fills.redis)} ({keeping.results_days:g} days), as much again for a replica"
    )
    table.add_row("archive", f"{_size(fills.archive)} ({keeping.archive_days:g} days)")
    return table


def _tell(console: Console, outcome: Outcome, seconds: float, plot: Path | None) -> None:
    table = Table(title=f"Simulated: {outcome.done.size:,} pictures, {seconds / 60:.0f} minutes at the peak")
    table.title_justify = "left"
    for name in ("part", "works", "bears so many times the peak"):
        table.add_column(name)
    ranked = sorted(outcome.busy.items(), key=lambda part: -part[1])
    for name, share in ranked:
        table.add_row(name, f"{share:.0%}", f"{1 / share:.1f}" if share else "–")
    console.print(table)
    shares = ", ".join(f"p{share:g} {outcome.percentile(share):.2f} s" for share in (50, 95, 99, 99.9))
    console.print(f"From Kafka to stored: {shares}; {int(outcome.waiting.max())} pictures waited at the most.")
    console.print(f"The next bottleneck: {ranked[0][0]}, at {1 / ranked[0][1]:.1f} times this peak.")
    if plot is not None:
        from eyestream.apps.plan_plot import draw  # it takes a second to load

        draw(outcome, plot)
        console.print(f"Drawn into {plot}.")


def _size(size: float) -> str:
    for unit in ("MB", "GB", "TB", "PB"):
        size /= 1000 if unit != "MB" else 1e6
        if size < 1000:  # noqa: PLR2004
            break
    return f"{size:.3g} {unit}"
