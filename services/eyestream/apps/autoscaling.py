"""How many workers the lag asks for. Ray Serve calls this in its controller's loop, so it does no input or output.

Ray pickles this module by value into its controller: it imports nothing of ours.
"""

from __future__ import annotations

import math
from typing import Any


class LagPolicy:
    """Replicas = messages waiting / `lag_per_replica`, within Serve's bounds.

    Without a report from any worker the present number stays: a broken metric must never scale the line away. Scaling
    down goes one worker at a time, since each leave costs the group a rebalance.
    """

    def __init__(self, *, lag_per_replica: int) -> None:
        self._lag_per_replica = lag_per_replica

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas wanted, and the policy's state, which it has none of."""
        reports = (ctx.aggregated_metrics or {}).get("lag") or {}
        present = int(ctx.target_num_replicas)
        if not reports:
            return present, {}
        wanted = math.ceil(sum(reports.values()) / self._lag_per_replica)
        wanted = max(wanted, present - 1)
        return max(ctx.capacity_adjusted_min_replicas, min(ctx.capacity_adjusted_max_replicas, wanted)), {}
