"""The simulated hour as a picture: what waits, and how long pictures take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eyestream.errors import Misconfigured
from eyestream.planning.simulation import Outcome


def draw(outcome: Outcome, path: Path) -> None:
    """Write it; the file's ending says as what. An existing file is replaced. Raises Misconfigured where it cannot."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1)
    above.plot(np.arange(outcome.waiting.size), outcome.waiting, color="#1f5a7a", linewidth=1)
    above.set(xlabel="seconds", ylabel="pictures not yet stored", ylim=(0, None))
    ordered = np.sort(outcome.latencies)
    below.plot(ordered, np.linspace(0, 100, ordered.size), color="#1f5a7a")
    for share in (50, 95, 99):
        value = outcome.percentile(share)
        below.axvline(value, color="#b0562a", linestyle=":", linewidth=1)
        below.annotate(f"p{share}  {value:.2f} s", (value, share), textcoords="offset points", xytext=(4, -12))
    below.set(xlabel="seconds from Kafka to stored", ylabel="% of the pictures", xlim=(0, None), ylim=(0, 101))
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"cannot draw into {path}: {error}") from error
