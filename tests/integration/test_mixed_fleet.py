"""Several servers behind one name while their engine is exchanged, one after the other: whose answers a line takes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from eyestream.apps.local import Stack
from eyestream.apps.local.triton import reload
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Vectors

pytestmark = pytest.mark.stack

OURS, THEIRS = "ab" * 32, "cd" * 32
PICTURES = np.random.default_rng(3).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
ROUNDS = 60


class Fleet:
    """Three servers; each can be given another engine while it runs."""

    def __init__(self, place: Path, write: Callable[..., None]) -> None:
        self._write = write
        self._models = [place / f"models-{one}" for one in range(3)]
        self._stacks = [
            Stack(place / f"state-{one}", model_repository=models, parts=("triton",))
            for one, models in enumerate(self._models)
        ]
        self.servers: list[str] = []

    def up(self) -> None:
        for models, stack in zip(self._models, self._stacks, strict=True):
            self._write(models / "trial", OURS)
            self.servers.append(stack.up().triton_grpc)

    def down(self) -> None:
        for stack in self._stacks:
            stack.down()

    @property
    def address(self) -> str:
        """Of all of them, as the name of a headless Service resolves."""
        return f"ipv4:{','.join(self.servers)}"

    def give(self, digest: str, *servers: int) -> None:
        for one in servers:
            self._write(self._models[one] / "trial", digest)
            reload(self.servers[one], "trial")

    def spoil(self, server: int) -> None:
        """Leave a configuration as they were before an engine's number stood in it."""
        config = self._models[server] / "trial" / "config.pbtxt"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if "version_policy" not in line))
        reload(self.servers[server], "trial")


@pytest.fixture(scope="module")
def running(state: Path, write_trial: Callable[..., None]) -> Iterator[Fleet]:
    fleet = Fleet(state, write_trial)
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """All three with our engine."""
    running.give(OURS, 0, 1, 2)
    return running


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[TritonEncoder]:
    encoder = await TritonEncoder.connect(address, "trial")
    try:
        yield encoder
    finally:
        await encoder.close()


async def encode_until_it_ends(encoder: TritonEncoder, answers: list[Vectors]) -> None:
    """As a line does, which tries again while a server is away."""
    for _ in range(ROUNDS):
        with contextlib.suppress(Unavailable):
            answers.append(await encoder.encode(PICTURES))


async def test_two_engines_answer_differently(fleet: Fleet) -> None:
    fleet.give(THEIRS, 2)
    async with connected(fleet.servers[0]) as ours, connected(fleet.servers[2]) as theirs:
        assert (ours.spec.digest, theirs.spec.digest) == (OURS, THEIRS)
        assert np.abs(await ours.encode(PICTURES) - await theirs.encode(PICTURES)).max() > 0.1


async def test_a_line_takes_answers_of_its_own_engine_alone_while_some_servers_have_another(fleet: Fleet) -> None:
    async with connected(fleet.address) as encoder:
        wanted = await encoder.encode(PICTURES)
        fleet.give(THEIRS, 1)
        for _ in range(ROUNDS):
            np.testing.assert_array_equal(await encoder.encode(PICTURES), wanted)


async def test_a_line_ends_once_most_servers_have_another_engine(fleet: Fleet) -> None:
    async with connected(fleet.address) as encoder:
        wanted = await encoder.encode(PICTURES)
        fleet.give(THEIRS, 0, 2)
        answers: list[Vectors] = []
        with pytest.raises(Misconfigured, match="Triton now serves trial cdcdcdcdcdcd"):
            await encode_until_it_ends(encoder, answers)
        assert all(np.array_equal(answer, wanted) for answer in answers)


async def test_a_line_that_starts_meanwhile_takes_the_engine_that_was_described_to_it(fleet: Fleet) -> None:
    """Of the fewer servers' engine it may take none, and begin again: it never takes the other's."""
    fleet.give(THEIRS, 1)
    async with connected(fleet.servers[0]) as ours:
        wanted = await ours.encode(PICTURES)
    taken: list[bool] = []
    for _ in range(6):
        with contextlib.suppress(Unavailable, Misconfigured):
            async with connected(fleet.address) as encoder:
                for _ in range(6):
                    same = np.array_equal(await encoder.encode(PICTURES), wanted)
                    taken.append(same == (encoder.spec.digest == OURS))
    assert taken
    assert all(taken)


async def test_an_engine_without_its_number_is_refused(fleet: Fleet) -> None:
    fleet.spoil(0)
    with pytest.raises(Misconfigured, match="does not tell by its version which engine it is"):
        async with connected(fleet.servers[0]):
            pass
