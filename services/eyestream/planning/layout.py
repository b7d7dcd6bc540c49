"""What stands where: workers, engines, partitions. Data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Every worker has `cores` of its own, unless `shared_cores` says that all parts, servers too, share so many.

    `instances` serve the engine; on a GPU, one for each GPU. The rest are the line's own settings (`line.*`).
    """

    workers: int
    instances: int
    partitions: int
    cores: int = 2
    shared_cores: int | None = None
    max_batch: int = 8
    max_wait_s: float = 0.05
    depth: int = 4
    decoders: int = 2
    max_in_flight: int = 256
