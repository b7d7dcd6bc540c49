"""A real API server for the chart. Collected only where this folder is named: it builds programs and takes minutes."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "helm"))
sys.path.insert(0, str(Path(__file__).parent))

from controlplane.cluster import ControlPlane, Failed
from controlplane.operators import KubeRay
from sites import Site, end_leftovers, owned_state

LAST_LINES = 20

OPERATED = {"scaled_plane", "ray_plane", "jobset_plane"}
"""Fixtures that bring operators."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test` stays what a machine without Go can do; `make test-cluster` names this folder."""
    return None if any("tests/cluster" in argument for argument in config.args) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Operators stay once they are there: what is to be seen without them goes first."""
    items.sort(key=lambda item: bool(OPERATED.intersection(getattr(item, "fixturenames", ()))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what its site looked like and what every program said last: both go with the test."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and report.when != "teardown" and isinstance(site, Site):  # by then it is gone
        try:
            seen = site.plane.kubectl("get", "pods,jobs,events", "-o", "wide", "-n", site.name)
        except Failed as failed:
            seen = str(failed)
        report.sections.append((f"namespace {site.name}", seen))
        for log in sorted(site.plane.state.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            report.sections.append((f"end of {log.relative_to(site.plane.state)}", "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """Kubernetes without operators."""
    end_leftovers()
    with owned_state() as state, ControlPlane(state) as plane:
        plane.up(lambda part, line: sys.stderr.write(f"{part}: {line}\n"))
        yield plane


@pytest.fixture(scope="session")
def ray_plane(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same plane with the KubeRay operator beside it; the plane's own `down` ends it too."""
    ray = ControlPlane(plane.state, beside=[KubeRay(plane.keys, plane.state / "hosts")])
    ray.up()
    yield ray
    ray.close()


@pytest.fixture
def site(plane: ControlPlane) -> Iterator[Site]:
    """A place for a release where nothing was installed yet."""
    with Site(plane) as site:
        yield site
