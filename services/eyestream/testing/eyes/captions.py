"""Sentences about rendered eyes, made from phrases.toml; some phrasings stay out of every caption. Knows no pixels."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from eyestream.testing.eyes.claims import CLAIMS, Claim, holds
from eyestream.testing.eyes.eye import Eye


@cache
def _phrases() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("phrases.toml").read_text("utf-8"))


def _of_finding(claim: Claim) -> tuple[dict[str, list[str]], dict[str, list[str]]] | None:
    """Templates and names of a claim about a finding; None for the others."""
    if claim.kind not in {"finding", "no-finding", "diabetic"}:
        return None
    phrases = _phrases()
    return phrases["absent" if claim.kind == "no-finding" else "present"], phrases["names"][claim.value or claim.kind]


def _sentences(claim: Claim) -> dict[str, list[str]]:
    key = f"no-{claim.value}" if claim.kind == "no-fault" else claim.value or claim.kind
    found: dict[str, list[str]] = _phrases()["sentences"][key]
    return found


def phrasings(claim: Claim) -> tuple[str, ...]:
    """Every way in which captions state the claim, always in the same order."""
    if parts := _of_finding(claim):
        templates, names = parts
        opposites = _phrases()["opposites"][claim.value] if claim.kind == "no-finding" else ()
        return (*(_fill(template, name) for template in templates["said"] for name in names["said"]), *opposites)
    return tuple(_sentences(claim)["said"])


def held_out_phrasings(claim: Claim) -> tuple[str, ...]:
    """Ways to state the claim that no caption uses: new names, new templates, and both; empty for some claims."""
    if not (parts := _of_finding(claim)):
        return tuple(_sentences(claim)["held_out"])
    templates, names = parts
    return (
        *(_fill(template, name) for template in templates["said"][:2] for name in names["held_out"]),
        *(_fill(template, name) for template in templates["held_out"] for name in names["said"][:3]),
        *(_fill(template, name) for template in templates["held_out"] for name in names["held_out"]),
    )


def _fill(template: str, name: str) -> str:
    """The template about the name; an article has no place behind a `no`."""
    if template.startswith("no {") or " no {" in template or "any {" in template:
        name = name.removeprefix("an ").removeprefix("a ")
    return template.format(name)


def captions(eye: Eye, rng: np.random.Generator, *, count: int = 4) -> tuple[str, ...]:
    """`count` true statements about `eye`, different claims first; the same generator state gives the same ones."""
    true = [claim for claim in CLAIMS if holds(claim, eye)]
    order = [true[int(i)] for i in rng.permutation(len(true))]
    chosen = (order * (1 + count // len(order)))[:count]
    return tuple(str(rng.choice(phrasings(claim))) for claim in chosen)
