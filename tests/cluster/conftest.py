"""A real API server for the chart. Collected only where this folder is named: it builds programs and takes minutes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "helm"))
sys.path.insert(0, str(Path(__file__).parent))

from controlplane.cluster import ControlPlane
from controlplane.operators import KubeRay
from sites import Site, end_leftovers, owned_state


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test` stays what a machine without Go can do; `make test-cluster` names this folder."""
    return None if any("tests/cluster" in argument for argument in config.args) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Operators stay once they are there: what is to be seen without them goes first."""
    items.sort(key=lambda item: bool({"scaled_plane", "ray_plane"}.intersection(getattr(item, "fixturenames", ()))))


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
    """A namespace under the restricted Pod Security standard with what the chart needs to be there; gone afterwards."""
    site = Site(plane)
    site.make()
    yield site
    site.remove()
