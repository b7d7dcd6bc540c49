"""The classifiers that published files hold, as ScoreHeads over what their engines give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from torch import Tensor, nn

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.records import Digest
from eyestream_engines.architectures import Octcube, VisionFmDecoder, VisionUnite, Vit
from eyestream_engines.families import octcube, visionunite, vit
from eyestream_engines.heads.classes import Arrangement, Classes, linear, named
from eyestream_engines.spec import EncoderFile

OCTCUBE: Final = (
    "diabetic-macular-oedema",
    "age-related-macular-degeneration",
    "glaucoma",
    "epiretinal-membrane",
    "diabetic-retinopathy",
    "vitreous-degeneration",
    "retinal-vascular-occlusion",
    "retinal-neovascularisation",
)
"""The eight pairs of OCTCube's classifier, in its order; each was trained against healthy eyes only."""


def head(
    encoder: EncoderFile, weights: Mapping[str, Tensor], digest: Digest, *, labels: Sequence[str] = ()
) -> ScoreHead:
    """The classifier in the checkpoint `digest`; `labels`, in its order, where the file's makers chose the classes.

    Raises Misconfigured when the encoder has no classifier, or labels do not fit its size.
    """
    provenance = Provenance(encoder=digest, preprocessing=encoder.preprocessing.digest, kind="probe")
    facts = encoder.architecture
    if isinstance(facts, VisionUnite):
        return signs(named(labels or visionunite.SIGNS, "pairs"), provenance)
    if isinstance(facts, Octcube) and (pairs := octcube.classifier(encoder, weights)) is not None:
        return _of(pairs, named(labels or OCTCUBE, "pairs"), provenance)
    if isinstance(facts, Vit) and (layers := vit.classifier(encoder, weights)) is not None:
        last = layers[-1]
        assert isinstance(last, nn.Linear)
        arrangement: Arrangement = "sigmoid" if last.out_features == 1 else "softmax"
        return _of(last, named(_given(labels, last.out_features, encoder), arrangement), provenance)
    if isinstance(facts, VisionFmDecoder):
        raise Misconfigured(f"{encoder.name} gives masks, which no ScoreHead reads: ask its engine through Triton")
    raise Misconfigured(f"{encoder.name} holds no classifier: fit a linear probe on its embeddings")


def signs(classes: Classes, provenance: Provenance) -> ScoreHead:
    """VisionUnite's six: the engine's last twelve numbers are their logits already."""
    rows = np.eye(visionunite.TOKEN, dtype=np.float32)[visionunite.ADAPTED :]
    return linear(rows, None, classes, provenance)


def _of(layer: nn.Linear, classes: Classes, provenance: Provenance) -> ScoreHead:
    return linear(layer.weight.numpy(), layer.bias.numpy(), classes, provenance)


def _given(labels: Sequence[str], rows: int, encoder: EncoderFile) -> Sequence[str]:
    if len(labels) != rows:
        raise Misconfigured(
            f"the classifier of this {encoder.name} has {rows} classes and {len(labels)} labels were given: name the "
            "data set's classes in the order it was trained with"
        )
    return labels
