from __future__ import annotations

import pytest
from redis import exceptions

from eyestream.errors import Misconfigured, Unavailable
from eyestream.sinks.redis_client import Library, translated


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("Connection refused"),
        exceptions.MaxConnectionsError("Too many connections"),
        exceptions.TimeoutError("Timeout reading"),
        exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"),
        exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"),
        exceptions.MasterDownError("MASTERDOWN Link with MASTER is down"),
        exceptions.TryAgainError("TRYAGAIN Multiple keys request during rehashing of slot"),
        exceptions.MovedError("1234 127.0.0.1:7000"),
        exceptions.SlotNotCoveredError("Slot 1234 not covered"),
        exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots, but cannot persist"),
        exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
        exceptions.ResponseError("BUSY Redis is busy running a script."),
        OSError("Name or service not known"),
    ],
    ids=lambda error: type(error).__name__ + "-" + str(error)[:12],
)
def test_the_world_being_away_is_unavailable(error):
    assert isinstance(translated(error), Unavailable)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.AuthenticationError("WRONGPASS invalid username-password pair"),
        exceptions.AuthenticationWrongNumberOfArgsError("wrong number of arguments"),
        exceptions.NoPermissionError("this user has no permissions to run the 'fcall' command"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_user_that_may_not_is_misconfigured(error):
    assert isinstance(translated(error), Misconfigured)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        exceptions.ResponseError("user_script:12: attempt to index a nil value"),
        exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
        exceptions.DataError("Invalid input of type: 'NoneType'"),
    ],
    ids=lambda error: str(error)[:12],
)
def test_a_bug_of_ours_stays_what_it_is(error):
    assert translated(error) is error


@pytest.mark.parametrize("command", ["FUNCTION", "FCALL", "CONFIG"])
def test_a_server_that_is_too_old_is_misconfigured_and_the_operator_told(command):
    """As Redis 6 answers, and one whose operator renamed a command."""
    error = exceptions.ResponseError(f"unknown command `{command}`, with args beginning with: `LOAD`, ")
    told = translated(error)
    assert isinstance(told, Misconfigured)
    assert f"unknown command `{command}`" in str(told)
    assert "7.0 or later" in str(told)


def test_functions_are_named_by_their_content():
    library = Library.packaged()
    assert library.code.startswith(f"#!lua name=eyestream_{library.version}\n")
    for name in ("store", "note", "decide"):
        assert f"register_function('{library.function(name)}'" in library.code
    assert "_@'" not in library.code
