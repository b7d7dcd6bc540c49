"""What can go wrong, and therefore what becomes of the picture. Nothing here knows a part of the line.

EyestreamError
├── Rejected      the message's fault: it goes to the dead-letter topic, its batch-mates go on
├── Unavailable   the world's fault: the line pauses, retries with jitter and loses nothing
└── Misconfigured the operator's fault: the process ends before it takes work, saying what to do

Any other exception is ours: the process ends and is started again.
"""

from __future__ import annotations


class EyestreamError(Exception):
    """Something eyestream can name went wrong."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or type(self).__name__)


class Rejected(EyestreamError):
    """This picture cannot be screened.

    `reason` is a slug that dashboards count and `redrive` filters on (`truncated`, `too-many-pixels`);
    `stage` is the noun of the line that said no (`meta`, `decoding`, `scoring`); the text is for a person and says
    what to do. None of the three may hold a patient's data.
    """

    def __init__(self, reason: str, explanation: str, *, stage: str = "decoding") -> None:
        super().__init__(explanation)
        self.reason = reason
        self.explanation = explanation
        self.stage = stage

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_rejected, (type(self), self.reason, self.explanation, self.stage))


class Unavailable(EyestreamError):
    """A part of the world the line needs is away for now."""

    def __init__(self, part: str, explanation: str = "") -> None:
        super().__init__(f"{part} is unavailable: {explanation}" if explanation else f"{part} is unavailable")
        self.part = part

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_unavailable, (self.part, str(self)))


class Misconfigured(EyestreamError):
    """The settings, a bank or an engine do not fit together."""


def _rebuild_rejected(kind: type[Rejected], reason: str, explanation: str, stage: str) -> Rejected:
    return kind(reason, explanation, stage=stage)


def _rebuild_unavailable(part: str, text: str) -> Unavailable:
    error = Unavailable(part)
    error.args = (text,)
    return error
