"""An encoder's identity: its file, and which part of it where a file holds several."""

from __future__ import annotations

from collections import defaultdict

from eyestream.records import Digest
from eyestream_engines.spec import EncoderFile, names

FILE = Digest("ab" * 32)


def test_no_two_encoders_of_one_published_file_share_an_identity():
    holders = defaultdict(list)
    for encoder in map(EncoderFile.load, names()):
        for file in encoder.published.files if encoder.published else ():
            holders[encoder.published.hub or encoder.published.where, file].append(encoder)
    shared = [encoders for encoders in holders.values() if len(encoders) > 1]
    named = {tuple(encoder.name for encoder in encoders) for encoders in shared}
    assert ("octcube-ir", "octcube-ir-enface") in named
    for encoders in shared:
        if encoders[0].name.startswith("visionfm-"):  # files of one name, a folder for each modality
            continue
        assert len({encoder.identity(FILE) for encoder in encoders}) == len(encoders), named


def test_the_towers_of_octcube_ef_are_told_apart():
    towers = [EncoderFile.load(name) for name in ("octcube-ef", "octcube-ef-ir", "octcube-ef-faf")]
    assert len({tower.identity(FILE) for tower in towers}) == len(towers)


def test_the_identity_of_a_file_that_holds_one_encoder_is_its_sha256():
    assert EncoderFile.load("flair").identity(FILE) == FILE
