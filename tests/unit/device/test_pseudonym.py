"""The site's key and what it makes of a patient's number."""

from __future__ import annotations

import pickle
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from eyestream.device import pseudonym
from eyestream.device.pseudonym import SiteKey
from eyestream.errors import Misconfigured, Rejected
from eyestream.records import Identifier, Pseudonym

KEY = SiteKey(bytes(range(32)))
numbers = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=40)


@given(numbers, numbers)
def test_pseudonyms_travel_anywhere_and_never_hold_the_number(number, namespace):
    subject = KEY.subject(number, namespace=namespace)
    TypeAdapter(Pseudonym).validate_python(subject)
    TypeAdapter(Identifier).validate_python(KEY.exam(number, namespace=namespace))
    assert len(number) < 5 or number not in subject


def test_a_number_has_one_pseudonym():
    assert KEY.subject("4711", namespace="north") == KEY.subject("4711", namespace="north")


def test_blanks_around_a_number_do_not_make_another_patient():
    assert KEY.subject("4711 ", namespace="north") == KEY.subject("4711", namespace="north")


@pytest.mark.parametrize(
    ("key", "number", "namespace"),
    [(KEY, "4712", "north"), (KEY, "4711", "south"), (SiteKey(bytes(32)), "4711", "north"), (KEY, "h4711", "nort")],
)
def test_another_number_site_or_key_has_another_pseudonym(key, number, namespace):
    assert key.subject(number, namespace=namespace) != KEY.subject("4711", namespace="north")


def test_an_exam_and_a_patient_of_the_same_number_cannot_be_linked():
    assert KEY.subject("4711", namespace="north") != KEY.exam("4711", namespace="north")


def test_the_pseudonym_does_not_change_between_releases():
    assert KEY.subject("4711", namespace="north") == "6xndp37pdtdeykbvb22vrltqr6f7thsh"


@pytest.mark.parametrize("number", ["", "  ", "\0"])
def test_a_blank_number_is_refused(number):
    with pytest.raises(Rejected) as caught:
        KEY.subject(number, namespace="north")
    assert caught.value.reason == "no-patient"


def test_uids_are_dicom_uids():
    assert re.fullmatch(r"2\.25\.(0|[1-9][0-9]{0,38})", KEY.uid(b"pixels"))
    assert KEY.uid(b"pixels") != KEY.uid(b"others")


def test_the_key_cannot_be_printed_or_pickled():
    assert "00" not in repr(KEY) + str(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_a_new_key_is_its_owners_alone_and_is_read_back(tmp_path):
    path = tmp_path / "keys" / "site.key"
    pseudonym.create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first, second = pseudonym.read_key(path), pseudonym.read_key(path)
    assert first.subject("1", namespace="n") == second.subject("1", namespace="n")


def test_two_keys_differ(tmp_path):
    pseudonym.create_key(tmp_path / "a")
    pseudonym.create_key(tmp_path / "b")
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_a_key_is_never_replaced(tmp_path):
    pseudonym.create_key(tmp_path / "site.key")
    before = (tmp_path / "site.key").read_text()
    with pytest.raises(Misconfigured, match="never replaced"):
        pseudonym.create_key(tmp_path / "site.key")
    assert (tmp_path / "site.key").read_text() == before


def test_a_key_others_can_read_is_refused(tmp_path):
    pseudonym.create_key(tmp_path / "site.key")
    (tmp_path / "site.key").chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        pseudonym.read_key(tmp_path / "site.key")


@pytest.mark.parametrize("content", [b"", b"short", b"zz" * 32, b"00" * 31, b"\xff\xfe"])
def test_a_damaged_key_is_refused_without_showing_it(tmp_path, content):
    path = tmp_path / "site.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Misconfigured) as caught:
        pseudonym.read_key(path)
    assert content == b"" or content.decode("latin-1") not in str(caught.value)


def test_a_missing_key_says_how_to_make_one(tmp_path):
    with pytest.raises(Misconfigured, match="keygen"):
        pseudonym.read_key(tmp_path / "none")
