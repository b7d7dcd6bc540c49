"""The loop closed: real lag, the real KEDA, the real scheduler, and the pods' own processes, which do the work.

Nothing plays the line: what the chart gave a worker's pod, command, environment and files, runs here against a real
Kafka, Redis and Triton. kwok alone says which pods run and that they are ready.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator

import pytest
from controlplane.cluster import ControlPlane
from controlplane.kubelet import Kubelet
from controlplane.operators import Keda, KedaAdapter
from lines import line_site, line_values
from sites import Object, Site, wait_until

from eyestream.apps.drills.ground import Ground
from eyestream.apps.drills.pictures import make_lot
from eyestream.apps.drills.run import Run

PICTURES = 600
MOST = 3
SCREENING = "app.kubernetes.io/component=screening"


@pytest.fixture(scope="module")
def scaled_plane(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same plane, with KEDA beside it; the plane's own `down` ends it too."""
    scaled = ControlPlane(plane.state, beside=[Keda(plane.keys), KedaAdapter(plane.keys)])
    scaled.up()
    yield scaled
    scaled.close()


@pytest.fixture
def site(scaled_plane: ControlPlane, ground: Ground) -> Iterator[Site]:
    with line_site(scaled_plane, ground, pictures=PICTURES, nodes=3) as site:
        yield site


@pytest.mark.timeout(1200)
def test_pain_6_workers_follow_the_lag_through_an_upgrade_and_a_drain_and_nothing_is_lost(
    site: Site, ground: Ground, capsys: pytest.CaptureFixture[str]
):
    claims = {"banks": ground.settings.banks.shelf}
    played = Kubelet(site.plane.api, site.name, SCREENING, state=site.plane.state / "pods", claims=claims)
    mark = f"loop{secrets.token_hex(3)}"
    with played as kubelet:
        site.install("external-triton", values(ground))
        wait_until(lambda: len(kubelet.ready) == 1, lambda: f"one worker: {kubelet.faults}", within_s=120)

        run = Run("cluster", ground, make_lot(mark, ground.drawn[: PICTURES - 20], bad=20), mark=mark)
        run.send()
        wait_until(lambda: len(kubelet.ready) == MOST, lambda: f"{MOST} workers: {kubelet.faults}", within_s=180)

        before = set(kubelet.ready)
        site.upgrade("external-triton", values(ground, max_batch=7))
        wait_until(
            lambda: len(kubelet.ready) == MOST and before.isdisjoint(kubelet.ready),
            lambda: f"{MOST} other workers: {kubelet.faults}",
            within_s=180,
        )

        node = site.pods("screening")[0]["spec"]["nodeName"]
        assert run.stored < len(run.lot.metas), "there is work left for the drain to disturb"
        site.plane.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
        site.plane.kubectl("uncordon", node)

        run.settle()
        wait_until(lambda: len(kubelet.ready) == 1, lambda: f"one worker again: {kubelet.faults}", within_s=240)
        account = run.account()
    assert kubelet.faults == []
    assert account.faults == ()
    assert (account.pictures, account.lost, account.conflicts) == (PICTURES, 0, 0)
    assert len(kubelet.ended) >= 2 * MOST, "an upgrade, a drain and the way back"
    assert [one for one in kubelet.ended if not one.orderly] == [], "each drained within its grace"
    with capsys.disabled():
        sys.stdout.write(
            f"\ncluster: {account.pictures} pictures, workers 1 → {MOST} → 1, upgrades 1, drains 1, "
            f"lost {account.lost}, conflicts {account.conflicts}\n"
        )


def values(ground: Ground, *, max_batch: int = 8) -> Object:
    """A line on somebody else's Triton that KEDA scales, with workers so slow that they fall behind."""
    settings = {
        "line": {"max_in_flight": 2, "max_wait_s": 1.0, "max_batch": max_batch},
        "serve": {"replicas": 1, "max_replicas": MOST, "lag_per_replica": 20, "drain_timeout_s": 20},
    }
    return line_values(
        ground, settings, screening={"keda": {"enabled": True, "pollingSeconds": 2, "scaleDownSeconds": 5}}
    )
