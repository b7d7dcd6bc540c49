"""What needs torch: run in its own environment, `make test-engines`. Elsewhere nothing of it is collected."""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py", "*/test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny():
    """A vision transformer of one published format, small enough to build in seconds; it has no original."""
    from eyestream_engines.spec import EncoderFile

    return EncoderFile.model_validate(
        {
            "schema_version": 1,
            "name": "tiny",
            "title": "A small vision transformer",
            "licence": "Apache-2.0",
            "evidence": "assumed",
            "checkpoint": {"wrapper": "model", "strip": ["module."], "ignored": ["decoder_*", "mask_token"]},
            "architecture": {
                "family": "vit",
                "width": 32,
                "depth": 2,
                "heads": 2,
                "patch": 8,
                "pooling": "raw-patch-mean-norm",
            },
            "input": {"height": 32, "width": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
            "preprocessing": {},
            "output": {"dim": 32, "pooling": "mean of the patches"},
            "serving": {"max_batch": 4},
        }
    )


@pytest.fixture(scope="session")
def tiny_weights(tiny):
    """Every key that the tiny encoder uses, filled from a seed."""
    import torch

    from eyestream_engines.cases import fill
    from eyestream_engines.families import family_of

    return {
        name: torch.from_numpy(fill(name, want.shape, "float32", 0))
        for name, want in family_of(tiny).expected(tiny).items()
    }
