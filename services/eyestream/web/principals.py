"""Who asks, and what they may. Knows no way of proving it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

Scope = Literal["read", "decide", "score", "operate"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

EXPLAINED: Final[dict[Scope, str]] = {
    "read": "see exams, worklists, pictures, counters and events",
    "decide": "claim exams and decide them",
    "score": "have pictures scored on demand, and shown where they say so",
    "operate": "see and redrive dead letters, see the audit record",
}

KEY_HOLDER: Final = "key:"
"""What the name of whoever holds an API key begins with, and nobody else's."""

_WRITTEN: Final = re.compile(rf"({'|'.join(SCOPES)})(?:@([a-z0-9](?:[a-z0-9-]{{0,62}}[a-z0-9])?))?")


@dataclass(frozen=True, slots=True)
class Grant:
    """A scope for every programme (`read`) or for one (`read@diabetic`)."""

    scope: Scope
    programme: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The grant that is written so. Raises ValueError, saying what there is."""
        match = _WRITTEN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(
                f"there is no scope {text}; there are {', '.join(SCOPES)}, each for one programme as read@PROGRAMME"
            )
        scope: Scope = next(known for known in SCOPES if known == match[1])
        return cls(scope, match[2])

    def __str__(self) -> str:
        return self.scope if self.programme is None else f"{self.scope}@{self.programme}"


def ordered(grants: Iterable[Grant]) -> list[Grant]:
    """By scope as they are listed, then by programme."""
    return sorted(grants, key=lambda grant: (SCOPES.index(grant.scope), grant.programme or ""))


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a program. `who` goes into the audit record; `expires` is seconds since 1970."""

    who: str
    how: Literal["oidc", "api-key", "unprotected"]
    grants: frozenset[Grant]
    expires: float | None = None

    @property
    def scopes(self) -> frozenset[Scope]:
        """What they may, in one programme at least."""
        return frozenset(grant.scope for grant in self.grants)

    def reach(self, scope: str) -> frozenset[str] | None:
        """The programmes that they hold the scope for; None when it is every one."""
        programmes = {grant.programme for grant in self.grants if grant.scope == scope}
        return None if None in programmes else frozenset(name for name in programmes if name is not None)

    def may(self, scope: str, programme: str) -> bool:
        """Whether they hold the scope for this programme."""
        reach = self.reach(scope)
        return reach is None or programme in reach
