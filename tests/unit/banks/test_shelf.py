from __future__ import annotations

import errno
import hashlib
import json
import threading
from pathlib import Path

import pytest

from eyestream.banks.build import build
from eyestream.banks.shelf import Bank, Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import digest
from eyestream.testing.texts import FakeTextEncoder

ENCODER, OTHER, PREPROCESSING = digest("encoder"), digest("other encoder"), digest("preprocessing")
TEXT = """schema_version = 1
name = "NAME"
title = "Test"
[[urgencies]]
name = "routine"
title = "Routine"
rank = 1
within_days = 91
[[conditions]]
id = "drusen"
title = "Drusen"
positive = ["PHRASE"]
negative = ["a healthy macula"]
"""


def pair(phrase="drusen", *, name="test", encoder=ENCODER, preprocessing=PREPROCESSING, more=""):
    programme = Programme.parse(TEXT.replace("NAME", name).replace("PHRASE", phrase) + more)
    origin = {"encoder_digest": encoder, "preprocessing_digest": preprocessing}
    return programme, build(programme, FakeTextEncoder(16), **origin)


def put(shelf, *args, **options):
    """Publish and activate; the head's digest."""
    programme, head = pair(*args, **options)
    shelf.activate(programme.name, shelf.publish(programme, head))
    return head.digest


def heads(banks):
    return {name: bank.head.digest for name, bank in banks.items()}


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "banks")


def test_an_empty_shelf_serves_nothing(shelf):
    assert shelf.open(ENCODER, PREPROCESSING) == {}
    assert shelf.poll() == {}
    assert shelf.programmes() == ()


def test_what_is_published_is_not_served_until_it_is_activated(shelf):
    programme, head = pair()
    shelf.publish(programme, head)
    assert shelf.open(ENCODER, PREPROCESSING) == {}
    shelf.activate("test", head.digest)
    assert heads(shelf.poll()) == {"test": head.digest}


def test_a_bank_is_served_with_its_programme(shelf):
    programme, head = pair()
    shelf.activate("test", shelf.publish(programme, head))
    bank = shelf.open(ENCODER, PREPROCESSING)["test"]
    assert (bank.programme, bank.programme.digest) == (programme, programme.digest)
    assert bank.head.to_bytes() == head.to_bytes()


def test_a_swap_is_seen_once_by_every_reader(shelf, tmp_path):
    first = put(shelf)
    other = Shelf(tmp_path / "banks")
    assert heads(shelf.open(ENCODER, PREPROCESSING)) == heads(other.open(ENCODER, PREPROCESSING)) == {"test": first}
    second = put(shelf, "pale spots")
    assert heads(shelf.poll()) == heads(other.poll()) == {"test": second}
    assert shelf.poll() == other.poll() == {}


def test_only_what_changed_is_reported(shelf):
    put(shelf, name="a")
    put(shelf, name="b")
    shelf.open(ENCODER, PREPROCESSING)
    swapped = put(shelf, "pale spots", name="b")
    third = put(shelf, name="c")
    assert heads(shelf.poll()) == {"b": swapped, "c": third}


def test_a_change_of_rules_alone_is_a_change(shelf):
    head = put(shelf)
    shelf.open(ENCODER, PREPROCESSING)
    assert put(shelf, more="[retention]\nresults_days = 1\n") == head
    assert shelf.poll()["test"].programme.retention.results_days == 1


def test_a_bank_for_another_encoder_stops_the_start(shelf):
    put(shelf, encoder=OTHER)
    with pytest.raises(Misconfigured, match="was built for encoder"):
        shelf.open(ENCODER, PREPROCESSING)


def test_a_bank_for_another_preprocessing_stops_the_start(shelf):
    put(shelf, preprocessing=digest("another crop"))
    with pytest.raises(Misconfigured, match="was built for preprocessing"):
        shelf.open(ENCODER, PREPROCESSING)
    assert list(shelf.open(ENCODER)) == ["test"]


def test_while_running_a_bank_that_does_not_fit_is_refused_and_reported(shelf):
    put(shelf)
    shelf.open(ENCODER, PREPROCESSING)
    put(shelf, "pale spots", encoder=OTHER)
    assert shelf.poll() == {}
    assert "was built for encoder" in shelf.refused["test"]
    mended = put(shelf, "pale spots")
    assert heads(shelf.poll()) == {"test": mended}
    assert shelf.refused == {}


def test_a_refusal_is_logged_once(shelf, caplog):
    put(shelf)
    shelf.open(ENCODER, PREPROCESSING)
    put(shelf, "pale spots", encoder=OTHER)
    for _ in range(3):
        shelf.poll()
    assert [record.action for record in caplog.records] == ["refused"]


def test_a_head_that_arrives_after_its_pointer_is_taken_up_when_it_is_there(shelf, tmp_path):
    """As when a folder is copied file by file."""
    put(shelf)
    shelf.open(ENCODER, PREPROCESSING)
    second = put(shelf, "pale spots")
    path = tmp_path / "banks" / "heads" / f"{second}.safetensors"
    content = path.read_bytes()
    path.unlink()
    assert shelf.poll() == {}
    path.write_bytes(content)
    assert heads(shelf.poll()) == {"test": second}


def test_a_pointer_that_is_gone_takes_nothing_out_of_service(shelf, tmp_path):
    put(shelf)
    shelf.open(ENCODER, PREPROCESSING)
    (tmp_path / "banks" / "current" / "test.json").unlink()
    assert shelf.poll() == {}
    assert shelf.refused == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "test", "served": [{"head": 1}]}'])
def test_a_pointer_that_is_no_pointer_is_refused(shelf, tmp_path, content):
    put(shelf)
    shelf.open(ENCODER, PREPROCESSING)
    (tmp_path / "banks" / "current" / "test.json").write_text(content)
    assert shelf.poll() == {}
    assert "cannot be read" in shelf.refused["test"]
    with pytest.raises(Misconfigured, match=r"test\.json cannot be read"):
        shelf.open(ENCODER, PREPROCESSING)


@pytest.mark.parametrize("asked", ["stat", "glob"])
def test_while_its_share_is_away_the_banks_at_hand_go_on(shelf, monkeypatch, caplog, asked):
    put(shelf)
    shelf.open(ENCODER, PREPROCESSING)

    def stale(self, *_args, **_options):
        raise OSError(errno.ESTALE, "Stale file handle", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, asked, stale)
        assert shelf.poll() == {}
    assert "Stale file handle" in caplog.text
    assert shelf.poll() == {}
    assert shelf.refused == {}
    after = put(shelf, "soft drusen")
    assert heads(shelf.poll()) == {"test": after}


def test_an_altered_programme_is_refused(shelf, tmp_path):
    put(shelf)
    (path,) = (tmp_path / "banks" / "programmes").iterdir()
    path.write_text(path.read_text().replace('title = "Drusen"', 'title = "Nothing"'))
    with pytest.raises(Misconfigured, match="was altered"):
        shelf.open(ENCODER, PREPROCESSING)


def test_rollback_goes_back_one_bank_at_a_time(shelf):
    digests = [put(shelf, phrase) for phrase in ("drusen", "pale spots", "yellow dots")]
    shelf.open(ENCODER, PREPROCESSING)
    assert [edition.head for edition in shelf.history("test")] == digests
    for expected in (digests[1], digests[0]):
        assert shelf.rollback("test").head == expected
        assert heads(shelf.poll()) == {"test": expected}
    with pytest.raises(Misconfigured, match="nothing served before"):
        shelf.rollback("test")
    assert [edition.head for edition in shelf.published("test")] == digests


def test_a_bank_rolled_back_can_be_activated_again(shelf):
    first, second = put(shelf), put(shelf, "pale spots")
    shelf.rollback("test")
    shelf.activate("test", second[:8])
    assert [edition.head for edition in shelf.history("test")] == [first, second]


def test_activating_what_is_served_and_publishing_it_again_change_nothing(shelf, tmp_path):
    put(shelf)
    before = (tmp_path / "banks" / "current" / "test.json").read_bytes()
    put(shelf)
    assert (tmp_path / "banks" / "current" / "test.json").read_bytes() == before


@pytest.mark.parametrize("asked", ["0" * 64, "", "abc"])
def test_an_unknown_or_short_digest_is_refused_with_those_there_are(shelf, asked):
    known = put(shelf)
    with pytest.raises(Misconfigured, match=known[:12]):
        shelf.activate("test", asked)


def test_a_bank_is_named_by_six_characters_of_its_head_or_of_its_programmes_text(shelf):
    programme, head = pair()
    changed, _ = pair(more="# another text, the same phrases\n")
    other, rival = pair("pale spots")
    for published in ((programme, head), (changed, head), (other, rival)):
        shelf.publish(*published)
    served = [
        shelf.activate("test", asked[:6]) for asked in (changed.digest, programme.digest, rival.digest, head.digest)
    ]
    newest = (changed.digest, head.digest)
    assert [edition.pair for edition in served] == [
        newest,
        (programme.digest, head.digest),
        (other.digest, rival.digest),
        newest,
    ]
    assert shelf.current("test").programme.digest == changed.digest


def test_six_characters_that_two_banks_share_put_neither_into_service(shelf):
    text, head = pair()
    seen = {}
    for number in range(100_000):  # a few thousand texts are enough for two to share 24 bits
        more = f"# {number}\n"
        start = hashlib.sha256((text.text + more).encode()).hexdigest()[:6]
        if start in seen:
            break
        seen[start] = more
    twins = [pair(more=one)[0] for one in (seen[start], more)]
    for programme in twins:
        shelf.publish(programme, head)
    with pytest.raises(Misconfigured, match=f"'{start}' is more than one bank; give more of its digest"):
        shelf.activate("test", start)
    assert shelf.current("test") is None
    assert shelf.activate("test", twins[0].digest[:60]).programme == twins[0].digest


def test_a_head_for_other_conditions_than_its_programmes_is_refused(shelf):
    _, head = pair()
    programme, _ = pair()
    other = Programme.parse(programme.text.replace('id = "drusen"', 'id = "cataract"'))
    with pytest.raises(Misconfigured, match="differ in cataract, drusen"):
        Bank(other, head)
    with pytest.raises(Misconfigured, match="differ in"):
        shelf.publish(other, head)
    assert shelf.programmes() == ()


def test_what_a_crash_left_half_done_harms_nothing(shelf, tmp_path):
    """A head without a pointer, and temporary files of a writer that died."""
    first = put(shelf)
    _, orphan = pair("pale spots")
    orphan.save(tmp_path / "banks" / "heads")
    (tmp_path / "banks" / "current" / ".test.json.1-abcd").write_text("{")
    (tmp_path / "banks" / "heads" / ".x.safetensors.1-abcd").write_bytes(b"half")
    assert heads(shelf.open(ENCODER, PREPROCESSING)) == {"test": first}
    assert heads({"test": shelf.current("test")}) == {"test": first}


def test_writers_at_once_lose_no_edition_and_readers_see_whole_pointers(shelf, tmp_path):
    put(shelf)
    folder = tmp_path / "banks"
    pairs = [pair(f"phrase {number}") for number in range(12)]

    def publish(mine):
        own = Shelf(folder)
        for programme, head in mine:
            own.activate("test", own.publish(programme, head))

    writers = [threading.Thread(target=publish, args=(pairs[i::3],)) for i in range(3)]
    shelf.open(ENCODER, PREPROCESSING)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        json.loads((folder / "current" / "test.json").read_text())
        shelf.poll()
        assert shelf.refused == {}
    for writer in writers:
        writer.join()
    assert {edition.head for edition in shelf.published("test")} >= {head.digest for _, head in pairs}
    assert len(shelf.history("test")) == 13


def test_polling_before_opening_is_a_mistake_of_the_caller(shelf):
    with pytest.raises(ValueError, match="open the shelf"):
        shelf.poll()
