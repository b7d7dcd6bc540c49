"""Which encoders are measured on a GPU, and where their weights come from. Knows no network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eyestream.errors import Misconfigured
from eyestream.records import Digest
from eyestream_engines import files, verifying
from eyestream_engines.cases import NO_ENCODERS, Case, shipped
from eyestream_engines.heads import parity
from eyestream_engines.spec import EncoderFile, names


@dataclass(frozen=True, slots=True)
class Subject:
    """An encoder with weights: a parity case's, filled from its seed, or those that lie in the repository."""

    encoder: EncoderFile
    case: Case | None

    @property
    def source(self) -> str:
        """Where the weights come from, for a message."""
        return self.case.name if self.case else str(self.encoder.checkpoint_path)

    @property
    def digest(self) -> Digest:
        """Of the weights; of a case's, of what they are drawn from."""
        if self.case is None:
            return self.encoder.digest()
        drawn = (self.case.folder / "keys.json").read_bytes() + str(self.case.seed).encode()
        return self.encoder.identity(Digest(hashlib.sha256(drawn).hexdigest()))

    def weights(self) -> Mapping[str, Any]:
        """The checkpoint as it is read."""
        return self.case.file() if self.case else files.read(self.encoder.checkpoint_path)


def every() -> Iterator[Subject]:
    """Each encoder once, of those that their cases cannot tell apart the first, in the order of their names."""
    cases = [case for case in shipped() if case.name not in NO_ENCODERS and case.name != parity.CASE]
    found = [Subject(encoder, case) for case in cases for encoder in verifying.distinct(case)]
    found += [Subject(encoder, None) for encoder in map(EncoderFile.load, names()) if encoder.checkpoint.file]
    yield from sorted(found, key=lambda subject: subject.encoder.name)


def chosen(wanted: Sequence[str]) -> list[Subject]:
    """Those of these names, or all where none is named. Raises Misconfigured when one is no subject."""
    known = {subject.encoder.name: subject for subject in every()}
    if unknown := sorted(set(wanted) - set(known)):
        raise Misconfigured(f"no engine of {', '.join(unknown)} is measured on a GPU; there are: {', '.join(known)}")
    return [known[name] for name in wanted or known]
