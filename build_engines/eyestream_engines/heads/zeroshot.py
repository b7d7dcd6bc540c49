"""A programme's phrases asked of a published model as its authors ask: their template, padding, ensemble and scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from eyestream.banks.build import build
from eyestream.banks.head import ScoreHead
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import Digest
from eyestream.scoring import View, ViewName
from eyestream_engines.families import family_of
from eyestream_engines.spec import EncoderFile, Wording
from eyestream_engines.texts.encoder import TowerTextEncoder, lengths_of, tokenizer_of
from eyestream_engines.texts.tokens import tokenise
from eyestream_engines.texts.towers import Towers


def head(
    encoder: EncoderFile, weights: Mapping[str, Tensor], digest: Digest, *, programme: Programme, vocabulary: Path
) -> ScoreHead:
    """The head that asks the programme's phrases of the checkpoint `digest`.

    With a text tower for each eye it has the views `patient`, `left` and `right`. Raises Misconfigured when the model
    has no text side, the vocabulary is another, a phrase cannot be read, or two classes are the same to the model.
    """
    wording_of(encoder)
    family: Any = family_of(encoder)
    towers: Towers = family.texts(encoder, weights)
    maps: Mapping[ViewName, Tensor] = family.maps(encoder, weights) if hasattr(family, "maps") else {}
    return of_towers(encoder, towers, digest, maps=maps, programme=programme, vocabulary=vocabulary)


def of_towers(
    encoder: EncoderFile,
    towers: Towers,
    digest: Digest,
    *,
    maps: Mapping[ViewName, Tensor],
    programme: Programme,
    vocabulary: Path,
) -> ScoreHead:
    """The head of these towers; `maps` [dim, dim] take a picture's vector into the space of a view's texts."""
    wording = wording_of(encoder)
    tokenizer = tokenizer_of(wording, vocabulary)
    heads = {}
    for name, tower in towers.towers.items():
        asked = as_its_authors(programme, wording, towers.scales[name])
        lengths = lengths_of(wording, tokenizer, classes_of(asked))
        texts = TowerTextEncoder(tower, tokenizer, wording, dim=encoder.output.dim, weights=digest, lengths=lengths)
        heads[name] = build(
            asked,
            texts,
            encoder_digest=digest,
            preprocessing_digest=encoder.preprocessing.digest,
            tokenizer=wording.vocabulary_sha256,
            padding=wording.padding,
        )
    first = next(iter(heads.values()))
    views = tuple(_through(one.views[0], name, maps.get(name)) for name, one in heads.items())
    return ScoreHead(views, first.rows, first.judges, first.provenance)


def wording_of(encoder: EncoderFile) -> Wording:
    """How the model is asked; raises Misconfigured when it reads no texts."""
    if encoder.wording is None:
        raise Misconfigured(
            f"{encoder.name} reads no texts: its heads come from a linear probe, from pictures' prototypes or from its "
            "own classifier"
        )
    return encoder.wording


def require_readable(encoder: EncoderFile, programme: Programme, vocabulary: Path) -> None:
    """Raise Misconfigured, before any weight is read, for another vocabulary and for what `head` cannot read."""
    wording = wording_of(encoder)
    tokenizer = tokenizer_of(wording, vocabulary)
    classes = list(classes_of(as_its_authors(programme, wording, learned=1.0)))
    lengths_of(wording, tokenizer, classes)
    try:
        tokenise(tokenizer, [text for texts in classes for text in texts], context=wording.context)
    except ValueError as error:
        raise Misconfigured(f"the text tower cannot read a phrase of the programme: {error}") from None


def as_its_authors(programme: Programme, wording: Wording, learned: float) -> Programme:
    """The programme with the model's own templates, ensemble and scale; templates of single conditions stay."""
    scale = learned if wording.scale == "checkpoint" else wording.scale
    own = {"scale": scale, "renormalise": wording.renormalise, "templates": wording.templates}
    return programme.model_copy(update={"scoring": programme.scoring.model_copy(update=own)})


def classes_of(programme: Programme) -> Iterator[Sequence[str]]:
    """The texts of every class that the programme asks for: phrases in templates."""
    shared = programme.scoring.templates
    for condition in programme.conditions:
        templates = condition.templates or shared
        yield _filled(condition.positive, templates)
        if condition.negative:
            yield _filled(condition.negative, templates)
    for group in programme.groups:
        if group.rest:
            yield _filled(group.rest, shared)


def _filled(phrases: Sequence[str], templates: Sequence[str]) -> list[str]:
    return [template.format(phrase) for phrase in phrases for template in templates]


def _through(view: View, name: ViewName, matrix: Tensor | None) -> View:
    if matrix is None:
        return replace(view, name=name)
    return replace(view, name=name, projection=np.ascontiguousarray(matrix.numpy(), np.float32))
