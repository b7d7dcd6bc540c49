"""Captures and their embeddings → screenings, each under its own programme. Pure: no clock, no store, no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from eyestream import scoring
from eyestream.banks.shelf import Bank
from eyestream.errors import Rejected
from eyestream.records import Batch, Digest, Identity, Screening, Vectors


def judge(
    batch: Batch,
    embeddings: Vectors,
    *,
    banks: Mapping[str, Bank],
    encoder: Digest,
    preprocessing: Digest,
    encoded: float,
) -> list[Screening | Rejected]:
    """One result or refusal for each capture, in order; row i of `embeddings` [n, dim] speaks for capture i alone.

    A picture is refused when its embedding is not finite or nothing but zeros, or when its programme's bank was taken
    out of service since it was read. `encoded` is when the embeddings came, in seconds since 1970.
    """
    if len(embeddings) != len(batch):
        raise ValueError(f"{len(batch)} pictures were sent to the encoder and {len(embeddings)} embeddings came back")
    refused = {row: refusal for row, embedding in enumerate(embeddings) if (refusal := refusal_of(embedding))}
    results: dict[int, Screening | Rejected] = dict(refused)
    for name in dict.fromkeys(capture.meta.programme for capture in batch):
        rows = [row for row, capture in enumerate(batch) if capture.meta.programme == name]
        bank = banks.get(name)
        if bank is None:
            for row in rows:
                results[row] = Rejected("unknown-programme", _NO_BANK.format(name=name), stage="scoring")
            continue
        rows = [row for row in rows if row not in refused]
        lateralities = [batch[row].meta.laterality for row in rows]
        judgements = scoring.score(bank.head, embeddings[rows], lateralities=lateralities)
        identity, programme = Identity(encoder=encoder, bank=bank.head.digest), bank.programme.digest
        for row, judgement in zip(rows, judgements, strict=True):
            capture = batch[row]
            results[row] = Screening(
                meta=capture.meta,
                identity=identity,
                preprocessing=preprocessing,
                programme=programme,
                findings=judgement.findings,
                ungradable=judgement.ungradable,
                quality=judgement.quality,
                position=capture.message.position,
                timings=replace(capture.timings, encoded=encoded),
                traceparent=capture.traceparent,
            )
    return [results[row] for row in range(len(batch))]


def refusal_of(embedding: Vectors) -> Rejected | None:
    """Why nothing can be said of such an embedding; None when something can. Zeros would end the batch in `score`."""
    if not np.isfinite(embedding).all():
        return Rejected("embedding-not-finite", _WORTHLESS.format(what="no finite embedding"), stage="encoding")
    if not embedding.any():
        text = _WORTHLESS.format(what="an embedding of nothing but zeros")
        return Rejected("embedding-without-direction", text, stage="encoding")
    return None


_WORTHLESS = "The encoder gave {what} for this picture: look at the picture, then at the engine's precision."
_NO_BANK = "The bank of programme {name!r} was taken out of service while the picture was in flight: redrive it later."
