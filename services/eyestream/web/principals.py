"""Who asks, and what they may. Knows no way of proving it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Scope = Literal["read", "decide", "score", "operate"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

EXPLAINED: Final[dict[Scope, str]] = {
    "read": "see exams, worklists, pictures, counters and events",
    "decide": "claim exams and decide them",
    "score": "have pictures scored on demand, and shown where they say so",
    "operate": "see and redrive dead letters, see the audit record",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a program. `who` goes into the audit record; `expires` is seconds since 1970."""

    who: str
    how: Literal["oidc", "api-key", "unprotected"]
    scopes: frozenset[Scope]
    expires: float | None = None
