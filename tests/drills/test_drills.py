"""Every drill on real parts, with few pictures; `make drill` holds the same ones with thousands."""

from __future__ import annotations

import secrets

import pytest

from eyestream.apps.drills.accounts import Account, uncommitted
from eyestream.apps.drills.ground import Ground
from eyestream.apps.drills.scenarios import SCENARIOS, Scenario, chosen

pytestmark = [pytest.mark.serve, pytest.mark.stack]

PICTURES = 120


@pytest.fixture(scope="module", autouse=True)
def _drawn(ground: Ground) -> None:
    ground.prepare(PICTURES)


def hold(scenario: Scenario, ground: Ground) -> Account:
    return scenario.run(ground, pictures=PICTURES, mark=f"t{secrets.token_hex(3)}")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_drill_loses_nothing_and_contradicts_nothing(scenario: Scenario, ground: Ground):
    account = hold(scenario, ground)
    assert account.faults == ()
    assert (account.lost, account.conflicts) == (0, 0)
    assert account.pictures == PICTURES
    if account.flows_after_s is not None:
        assert account.flows_after_s < 100, "the line did not come back"


def test_a_part_that_stays_away_is_told_as_lost_pictures(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    """The books themselves: a drill that could not fail would prove nothing."""
    monkeypatch.setattr("eyestream.apps.drills.run.PATIENCE_S", 3.0)

    def never_sent(run):
        run.send(0.5)
        ground.wait(lambda: uncommitted(ground.kafka) == 0, "an end of all that was sent")

    [one] = chosen(["worker-killed"])
    account = hold(Scenario("half-sent", "half of the pictures never sent", one.host, never_sent), ground)
    assert account.lost == pytest.approx(PICTURES / 2, abs=1)
    assert not account.balanced
