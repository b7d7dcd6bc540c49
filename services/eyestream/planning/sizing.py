"""How many of everything: the smallest layout that works its parts no harder than asked, and what it fills."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from eyestream.errors import Misconfigured
from eyestream.planning.costs import Costs, Engine
from eyestream.planning.demand import Demand
from eyestream.planning.layout import Layout

_PARTITIONS_PER_WORKER: Final = 2
"""So that a lag can be met with twice the workers; partitions cannot be taken away again, and moving exams is dear."""
_LEAST_WORKERS: Final = 2
_LEAST_PARTITIONS: Final = 8
_KAFKA_OVERHEAD: Final = 1.05
"""Record headers, indices and the segment that is not yet old enough to go."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes: `kafka` with every replica, `redis` of the results kept, `archive` of the pictures kept."""

    kafka: float
    redis: float
    archive: float


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long: pictures on Kafka (with `replicas`), results in Redis, pictures in the archive."""

    kafka_days: float
    replicas: int
    results_days: float
    archive_days: float


def layout(demand: Demand, costs: Costs, engine: Engine, *, load: float, cores: int, max_batch: int) -> Layout:
    """The smallest that keeps every part's share of work at the peak at `load` or less, 0 < load < 1.

    Two workers at the least, so that one can be replaced; decoding threads as many as a worker has cores. Raises
    Misconfigured where no number of workers is enough: when one picture at a time is too much for an event loop.
    """
    if not 0 < load < 1:
        raise Misconfigured(f"a part can be loaded to a share between 0 and 1, not {load}")
    rate = demand.peak_per_s
    loop_ms = costs.judge_ms + demand.megabytes * costs.fetch_ms_per_megabyte
    cpu_ms = loop_ms + costs.decode_ms(demand.megapixels)
    per_worker = load * min(1000 / loop_ms, 1000 * cores / cpu_ms)
    workers = max(_LEAST_WORKERS, math.ceil(rate / per_worker))
    engine_s = (engine.request_ms / max_batch + engine.picture_ms) / 1000
    instances = max(1, math.ceil(rate * engine_s / load))
    return Layout(
        workers=workers,
        instances=instances,
        partitions=max(_LEAST_PARTITIONS, _PARTITIONS_PER_WORKER * workers),
        cores=cores,
        max_batch=max_batch,
        decoders=cores,
        # Workers share the engines: together they keep two batches for every instance under way.
        depth=max(2, math.ceil(2 * instances / workers)),
    )


def storage(demand: Demand, costs: Costs, keeping: Keeping) -> Storage:
    """What fills up, once everything has been kept for as long as it is to be kept."""
    day = demand.pictures_per_day * demand.megabytes * 1e6
    return Storage(
        kafka=day * keeping.kafka_days * keeping.replicas * _KAFKA_OVERHEAD,
        redis=demand.pictures_per_day * costs.result_bytes * keeping.results_days,
        archive=day * keeping.archive_days,
    )
