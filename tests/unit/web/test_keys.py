from __future__ import annotations

import datetime as dt

import pytest

from eyestream.errors import Misconfigured
from eyestream.testing.contracts_readings import WallClock
from eyestream.web.keys import KeyFile, make_key

WRONG = f'[[key]]\nid = "{"a" * 12}"\nname = "ward-7"\nsha256 = "{"0" * 64}"\nscopes = ["read@"]\n'


@pytest.fixture
def clock():
    return WallClock()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.toml"


def test_a_key_is_known_by_its_hash_and_not_to_be_read_from_the_file(file, clock):
    key, entry = make_key("ward-7", ["read", "decide"])
    file.write_text(entry)
    assert key not in entry
    assert key.split("_", 2)[2] not in entry
    principal = KeyFile(file, clock=clock).principal(key)
    assert (principal.who, principal.how, principal.scopes) == ("key:ward-7", "api-key", {"read", "decide"})


def test_no_two_keys_are_alike():
    assert len({make_key("ward-7", ["read"])[0] for _ in range(100)}) == 100


def test_another_key_with_the_same_id_is_nobodys(file, clock):
    key, entry = make_key("ward-7", ["read"])
    file.write_text(entry)
    keys = KeyFile(file, clock=clock)
    assert keys.principal(key[:-1] + ("A" if key[-1] != "A" else "B")) is None
    assert keys.principal(key + "A") is None
    assert keys.principal(key + "\n") is None
    assert keys.principal("") is None


def test_a_key_expires(file, clock):
    expires = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
    key, entry = make_key("ward-7", ["read"], expires=expires)
    file.write_text(entry)
    keys = KeyFile(file, clock=clock)
    assert keys.principal(key).expires == expires.timestamp()
    clock.at = expires.timestamp()
    assert keys.principal(key) is None


def test_keys_are_taken_in_and_out_while_the_service_runs(file, clock):
    old, old_entry = make_key("ward-7", ["read"])
    new, new_entry = make_key("ward-7", ["read"])
    file.write_text(old_entry)
    keys = KeyFile(file, clock=clock)
    file.write_text(new_entry + "\n")
    clock.step(1.1)
    assert keys.principal(new) is not None
    assert keys.principal(old) is None


def test_a_key_that_is_taken_out_is_nobodys_though_the_clock_was_put_back(file, clock):
    key, entry = make_key("ward-7", ["read"])
    file.write_text(entry)
    keys = KeyFile(file, clock=clock)
    file.write_text("")
    clock.step(-3600)
    assert keys.principal(key) is None


def test_a_file_that_became_wrong_leaves_the_keys_read_before(file, clock, caplog):
    key, entry = make_key("ward-7", ["read"])
    file.write_text(entry)
    keys = KeyFile(file, clock=clock)
    file.write_text("[[key]")
    clock.step(1.1)
    assert keys.principal(key) is not None
    assert "The keys read before stand" in caplog.text
    file.unlink()
    clock.step(1.1)
    assert keys.principal(key) is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[key", "cannot be read"),
        ("[other]\nx = 1\n", "wrong at other"),
        ('[[key]]\nid = "a"\n', "wrong at key.0"),
        ("{entry}{entry}", "one id twice"),
        ("{entry}[[others]]\n", "wrong at others"),
        (WRONG, "wrong at key.0.scopes.* there is no scope read@; there are read, decide, .* as read@PROGRAMME"),
    ],
)
def test_a_file_that_is_wrong_from_the_start_is_refused_where(file, text, told):
    _, entry = make_key("ward-7", ["read"])
    file.write_text(text.format(entry=entry) if "{entry}" in text else text)
    with pytest.raises(Misconfigured, match=told):
        KeyFile(file)


def test_a_file_that_is_not_there_is_refused(file):
    with pytest.raises(Misconfigured, match="cannot be read"):
        KeyFile(file)


def test_a_name_that_would_not_do_for_the_record_is_refused():
    with pytest.raises(Misconfigured, match="name"):
        make_key('x"\nscopes = ["operate"]', ["read"])


def test_a_key_may_be_for_one_programme_alone_and_its_lines_say_so(file, clock):
    key, entry = make_key("ward-7", ["operate", "read@glaucoma", "read@demo"])
    assert 'scopes = ["read@demo", "read@glaucoma", "operate"]' in entry
    file.write_text(entry)
    principal = KeyFile(file, clock=clock).principal(key)
    assert principal.scopes == {"read", "operate"}
    assert principal.reach("read") == {"demo", "glaucoma"}
    assert principal.reach("operate") is None


@pytest.mark.parametrize("scope", ["", "READ", "read@", "read@Demo", "read@a@b", "read@*", "@demo", 'read"', 7])
def test_what_is_no_scope_makes_no_key(scope):
    with pytest.raises(Misconfigured, match="there is no scope"):
        make_key("ward-7", [scope])
