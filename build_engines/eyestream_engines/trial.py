"""An encoder's engine and a bank of scores in one folder, for `eyestream demo --trial`. Knows no network.

An engine is built as always. What is asked of it comes from its text side, from the classifier in its file, or from a
head made before; whatever it is, nobody has measured operating points for it, and the programme has none.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from eyestream.apps.trial import BANKS, FILE, PROGRAMME, REPOSITORY, Trial
from eyestream.banks.head import ScoreHead
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import BEYOND, POINT, of_labels, uncalibrated
from eyestream_engines import building, checkpoints, files, steps
from eyestream_engines.architectures import Octcube, VisionFmDecoder, VisionUnite, Vit
from eyestream_engines.building import Built
from eyestream_engines.compilers.onnx import OnnxRuntime
from eyestream_engines.heads import published, zeroshot
from eyestream_engines.spec import EncoderFile
from eyestream_engines.steps import Told

STEPS: Final = (*steps.STEPS, "making the head")
_DEMO: Final = "eyestream-demo"
_CHINESE: Final = "bert-base-chinese"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person gave beside the checkpoint; None where nothing was given."""

    programme: Programme
    vocabulary: Path | None = None
    labels: tuple[str, ...] = ()
    head: Path | None = None


def make(
    encoder: EncoderFile, checkpoint: Path, asked: Asked, folder: Path, *, told: Told = lambda _step, _share: None
) -> tuple[Trial, Built]:
    """Build the engine for this machine's processor, make its head, and write the folder; a second call does no more.

    Raises Misconfigured when the line cannot use the encoder, when the checkpoint is not its, and when there is nothing
    to score its embeddings with.
    """
    require(encoder, asked)
    if encoder.wording is not None and asked.head is None:
        vocabulary = vocabulary_of(encoder, checkpoint, asked.vocabulary)
        zeroshot.require_readable(encoder, asked.programme, vocabulary)
    if asked.head is not None:
        _require_of(encoder, checkpoint, ScoreHead.load(asked.head))
    built = building.build(encoder, checkpoint, folder / REPOSITORY, compiler=OnnxRuntime(), told=told)
    told(STEPS[-1], 0.0)
    head, programme, warnings = _scored(encoder, checkpoint, asked)
    shelf = _shelf(folder, head)
    (folder / PROGRAMME).write_text(programme.text, "utf-8")
    shelf.publish(programme, head)
    shelf.activate(programme.name, head.digest)
    trial = Trial(encoder.name, encoder.title, programme.name, warnings)
    trial.save(folder)
    return trial, built


def require(encoder: EncoderFile, asked: Asked) -> None:
    """Say what stands in the way before anything long is done."""
    if encoder.name == _DEMO:
        raise Misconfigured(f"{_DEMO} is the demonstration's own encoder, with operating points: `make demo`")
    if (served := encoder.served_by) != "the line":
        raise Misconfigured(
            f"the demonstration sends single pictures through the line, and {encoder.name} is for {served}"
        )
    if asked.head is not None:
        of_labels(encoder.name, encoder.title, _labels(ScoreHead.load(asked.head)))
    elif isinstance(encoder.architecture, Vit) and scores_from(encoder) == "classifier":
        if not asked.labels:
            raise Misconfigured(
                f"the file of {encoder.name} holds a classifier of classes that its makers chose: name them in their "
                "order, LABELS=a,b,c, or --labels a,b,c"
            )
        of_labels(encoder.name, encoder.title, asked.labels)
    elif not scores_from(encoder):
        raise Misconfigured(
            f"{encoder.name} reads no texts and its file holds no classifier: its embeddings can be kept and compared, "
            "but nothing scores them yet. Fit a probe on labelled embeddings "
            f"(`eyestream-engines head probe {encoder.name}`) and name its file: HEAD=FILE, or --head FILE"
        )


def scores_from(encoder: EncoderFile) -> Literal["texts", "classifier", "mask", ""]:
    """What in the published files scores an embedding; nothing where a probe must be fitted first.

    `mask`: it gives no embedding, and nothing scores it.
    """
    if encoder.wording is not None:
        return "texts"
    facts = encoder.architecture
    if isinstance(facts, VisionFmDecoder):
        return "mask"
    classes = isinstance(facts, Octcube) and facts.classes is not None
    layers = isinstance(facts, Vit) and facts.classifier is not None
    return "classifier" if classes or layers or isinstance(facts, VisionUnite) else ""


def _shelf(folder: Path, head: ScoreHead) -> Shelf:
    """The trial's shelf; emptied first where a bank on it is of another engine, for no line opens such a shelf.

    Raises Misconfigured in a folder that is no trial's: its banks are somebody's own.
    """
    banks = folder / BANKS
    try:
        Shelf(banks).open(head.provenance.encoder, head.provenance.preprocessing)
    except Misconfigured as error:
        if not (folder / FILE).exists():
            raise Misconfigured(f"{banks} is there, and is no trial's: name another folder ({error})") from None
        shutil.rmtree(banks)
    return Shelf(banks)


def _scored(encoder: EncoderFile, checkpoint: Path, asked: Asked) -> tuple[ScoreHead, Programme, tuple[str, ...]]:
    if asked.head is not None:
        return _of_head(encoder, ScoreHead.load(asked.head))
    if encoder.wording is not None:
        return _of_texts(encoder, checkpoint, asked)
    read = checkpoints.read(encoder, checkpoint)
    head = published.head(encoder, read.tensors, read.digest, labels=asked.labels)
    told = "It is asked for the classes of the classifier in its file."
    return _without_points(head), of_labels(encoder.name, encoder.title, _labels(head)), (told,)


def _of_head(encoder: EncoderFile, head: ScoreHead) -> tuple[ScoreHead, Programme, tuple[str, ...]]:
    told = f"It is asked for the classes of a head of the kind {head.provenance.kind!r}."
    return _without_points(head), of_labels(encoder.name, encoder.title, _labels(head)), (told,)


def _require_of(encoder: EncoderFile, checkpoint: Path, head: ScoreHead) -> None:
    """Refuse a head that the line would refuse beside this checkpoint's engine."""
    origin, digest = head.provenance, encoder.identity(files.digest(checkpoint))
    if origin.encoder != digest:
        raise Misconfigured(
            f"this head was made for the encoder {origin.encoder[:12]}, and {checkpoint} is {digest[:12]}: "
            "make a head of this checkpoint"
        )
    if origin.preprocessing != encoder.preprocessing.digest:
        raise Misconfigured(
            f"this head was made for pictures prepared otherwise than those of {encoder.name} are now: make it again"
        )


def _of_texts(encoder: EncoderFile, checkpoint: Path, asked: Asked) -> tuple[ScoreHead, Programme, tuple[str, ...]]:
    programme = uncalibrated(asked.programme)
    read = checkpoints.read(encoder, checkpoint)
    vocabulary = vocabulary_of(encoder, checkpoint, asked.vocabulary)
    head = zeroshot.head(encoder, read.tensors, read.digest, programme=programme, vocabulary=vocabulary)
    assert encoder.wording is not None
    warnings = [f"It is asked the phrases of the programme {asked.programme.name!r} in its authors' template."]
    if _CHINESE in encoder.wording.vocabulary and asked.programme.text.isascii():
        warnings.append(
            "It reads Chinese and these phrases are English: give a programme in Chinese to ask it anything."
        )
    return head, programme, tuple(warnings)


def vocabulary_of(encoder: EncoderFile, checkpoint: Path, given: Path | None) -> Path:
    """The tokenizer's file: the one given, or the one of its published name beside the checkpoint.

    Raises Misconfigured when there is none; whether it is the right one is told where it is read.
    """
    assert encoder.wording is not None
    name = encoder.wording.vocabulary.split()[0]
    path = given or checkpoint.with_name(name)
    if not path.is_file():
        raise Misconfigured(
            f"{encoder.name} reads texts with {encoder.wording.vocabulary}, which is not ours to ship, and {path} is "
            f"not there: put it beside the checkpoint as {name}, or name it: VOCABULARY=FILE, or --vocabulary FILE"
        )
    return path


def _labels(head: ScoreHead) -> list[str]:
    return [judge.condition for judge in head.judges]


def _without_points(head: ScoreHead) -> ScoreHead:
    """The head whose scores reach no operating point: those of another data set say nothing here."""
    judges = tuple(replace(judge, thresholds={POINT: BEYOND}, operating_point=POINT) for judge in head.judges)
    return ScoreHead(head.views, head.rows, judges, head.provenance)
