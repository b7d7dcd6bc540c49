"""Train the demo model from nothing, publish it and print what it can do: `python -m eyestream_engines.demo.train`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from eyestream_engines.demo import store, texts
from eyestream_engines.demo.evaluate import report
from eyestream_engines.demo.learning import Plan, learn, read, see
from eyestream_engines.demo.pictures import CACHE, corpus, spec

log = logging.getLogger(__name__)


def main() -> None:
    """Render, train, publish, and print the evaluation on eyes of the test split."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    encoder = spec()
    eyes, pixels = corpus("train", options.eyes, cache_dir=options.cache, workers=options.threads)
    vocab = texts.vocabulary()
    plan = Plan(epochs=options.epochs, threads=options.threads)
    torch.manual_seed(plan.seed)
    model = store.build(encoder, vocab)
    learn(model, vocab, eyes, pixels, plan)
    model.text = store.build(encoder, vocab).text
    read(model, vocab, eyes, see(model, pixels), plan)
    store.save(encoder, model)
    graph = store.publish(encoder, model, vocab, pixels[:12])
    log.info("published %s with checkpoint %s", graph, encoder.digest())

    report("test", options.test_eyes, cache=options.cache, workers=options.threads)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eyes", type=int, default=5_000, help="how many eyes to render for training")
    parser.add_argument("--epochs", type=float, default=6.3, help="how often each is seen")
    parser.add_argument("--threads", type=int, default=2, help="of torch, and processes that render")
    parser.add_argument("--test-eyes", type=int, default=2_000, help="how many unseen eyes to evaluate on")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rendered eyes are kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
