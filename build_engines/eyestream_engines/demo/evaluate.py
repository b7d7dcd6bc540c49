"""What the published demo model can do, printed without flattery: `python -m eyestream_engines.demo.evaluate`.

Measures the served files themselves: the ONNX graph of model_repository and the text tower beside the checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np

from eyestream.banks.onnx import OnnxTextEncoder
from eyestream.testing.eyes.captions import phrasings
from eyestream.testing.eyes.claims import Claim
from eyestream_engines import triton_config
from eyestream_engines.demo.evaluating import auroc, evaluate, prompt, table
from eyestream_engines.demo.pictures import CACHE, Split, corpus, decoded, spec
from eyestream_engines.inference import embed
from eyestream_engines.spec import SHELF

REAL: Final = {"dr": Claim("diabetic"), "g": Claim("finding", "large-cup"), "h": Claim("healthy")}
"""What the suffix of a photograph's name says it shows: diabetic retinopathy, glaucoma, healthy."""


def report(split: Split, count: int, *, cache: Path = CACHE, workers: int = 2) -> None:
    """Print the table of one split's first `count` eyes."""
    eyes, pixels = corpus(split, count, cache_dir=cache, workers=workers)
    rows = evaluate(text_tower(), eyes, embed(graph(), pixels))
    print(f"{count} rendered eyes of the {split} split:\n{table(rows)}")  # noqa: T201 - this program's output


def graph() -> Path:
    """The image tower that Triton serves."""
    encoder = spec()
    version = triton_config.version(encoder, encoder.digest())
    return SHELF.parent / "model_repository" / encoder.name / version / "model.onnx"


def text_tower() -> OnnxTextEncoder:
    """The published text tower."""
    described = spec().text
    assert described is not None
    return OnnxTextEncoder(SHELF / described.folder)


def photographs(folder: Path) -> None:
    """Print how prompts rank real photographs named `*_dr`, `*_g` and `*_h`: each kind against all others."""
    files = sorted(file for file in folder.iterdir() if file.stem.rsplit("_", 1)[-1] in REAL)
    kinds = np.array([file.stem.rsplit("_", 1)[-1] for file in files])
    vectors = embed(graph(), np.stack([decoded(file.read_bytes()) for file in files]))
    print(f"{len(files)} real photographs (it was trained on none):")  # noqa: T201 - this program's output
    for kind, claim in REAL.items():
        area = auroc(vectors @ prompt(text_tower(), phrasings(claim)[:24]), kinds == kind)
        print(f"  {kind}: area under the curve {area:.3f}, {int((kinds == kind).sum())} of {len(kinds)}")  # noqa: T201


def main() -> None:
    """Evaluate on unseen rendered eyes and, where a folder is given, on real photographs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eyes", type=int, default=2_000, help="how many unseen eyes")
    parser.add_argument("--photographs", type=Path, help="folder of real photographs named *_dr, *_g, *_h")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rendered eyes are kept")
    options = parser.parse_args()
    report("test", options.eyes, cache=options.cache)
    if options.photographs:
        photographs(options.photographs)


if __name__ == "__main__":
    main()
