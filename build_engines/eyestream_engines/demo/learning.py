"""How the towers are trained: every picture against every text, each pair true, false or open. Knows no files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyestream.banks.onnx import Vocabulary
from eyestream.records import Pixels
from eyestream.testing.eyes import Eye
from eyestream_engines.demo import texts
from eyestream_engines.demo.network import ImageTower, TextTower

log = logging.getLogger(__name__)


REPORT, SNAPSHOT = 50, 150
"""Steps between lines of the log, and between calls of `halfway`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast: `epochs` over all eyes, pairs of `pictures` and `texts` a step.

    The first share `coarse` of the steps sees pictures of half the size: a quarter of the work teaches most of it.
    """

    epochs: float
    pictures: int = 24
    texts: int = 64
    rate: float = 2e-3
    decay: float = 0.02
    seed: int = 20_260_101
    threads: int = 2
    coarse: float = 0.5


class Model(nn.Module):
    """Both towers and the two numbers that turn a cosine into the odds that a text is true of a picture."""

    def __init__(self, image: ImageTower, text: TextTower) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        """Log-odds [pictures, texts]."""
        return self.scale.exp() * self.image(pixels) @ self.text(features).T + self.bias


def learn(
    model: Model, vocab: Vocabulary, eyes: list[Eye], pixels: Pixels, plan: Plan, *, halfway: Callable[[], None]
) -> None:
    """Train in place; `halfway` is called now and then. The same plan and eyes give much the same model."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    known = {False: texts.truth(eyes), True: texts.truth(texts.mirrored(eyes))}
    steps = int(plan.epochs * len(eyes) / plan.pictures)
    optimizer = torch.optim.AdamW(_groups(model, plan.decay), lr=plan.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=steps, pct_start=0.1)
    model.to(memory_format=torch.channels_last).train()
    order = np.concatenate([rng.permutation(len(eyes)) for _ in range(int(plan.epochs) + 1)])
    started, running = time.monotonic(), 0.0
    for step in range(steps):
        chosen = np.sort(order[step * plan.pictures : (step + 1) * plan.pictures])
        flip, upside_down = (bool(side) for side in rng.integers(2, size=2))
        batch = pixels[chosen]
        batch = _vary(rng, batch[:, :: -1 if upside_down else 1, :: -1 if flip else 1])
        if step < plan.coarse * steps:
            batch = _halve(batch)
        said = texts.draw(rng, plan.texts)
        loss = _loss(
            model(torch.from_numpy(batch), torch.from_numpy(texts.table(rng, vocab, said))),
            torch.from_numpy(texts.judge(said, known[flip][:, chosen])),
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += (loss.item() - running) / min(step + 1, 50)
        if step % SNAPSHOT == SNAPSHOT - 1:
            halfway()
        if step % REPORT == 0:
            rate = (step + 1) * plan.pictures / (time.monotonic() - started)
            log.info("step %d of %d: loss %.4f, %.1f pictures a second", step, steps, running, rate)
    model.eval()


def _vary(rng: np.random.Generator, batch: Pixels) -> Pixels:
    """Other exposures and white balances, picture by picture."""
    gain = rng.uniform(0.9, 1.1, (len(batch), 1, 1, 3)) * rng.uniform(0.9, 1.1, (len(batch), 1, 1, 1))
    table = np.clip(np.arange(256)[None, None, None, :, None] * gain[:, :, :, None, :], 0, 255).astype(np.uint8)
    out = np.empty_like(batch, order="C")
    for row, picture in enumerate(batch):
        for channel in range(3):
            out[row, :, :, channel] = table[row, 0, 0, :, channel][picture[:, :, channel]]
    return out


def _halve(batch: Pixels) -> Pixels:
    """Half the size, four pixels averaged."""
    count, height, width, channels = batch.shape
    blocks = batch.reshape(count, height // 2, 2, width // 2, 2, channels)
    halved: Pixels = np.round(blocks.mean((2, 4), dtype=np.float32)).astype(np.uint8)
    return halved


def _loss(odds: Tensor, truth: Tensor) -> Tensor:
    """Mean over pairs that can be said; a text's rare side weighs up to four times as much."""
    said = (truth >= 0).float()
    true = (truth == 1).float()
    share = (true.sum(0) + 1) / (said.sum(0) + 2)
    weight = torch.where(true > 0, (0.5 / share).clamp(max=4.0), (0.5 / (1 - share)).clamp(max=4.0))
    pairs = functional.binary_cross_entropy_with_logits(odds, true, weight=weight * said, reduction="sum")
    return pairs / (weight * said).sum().clamp(min=1)


def _groups(model: Model, decay: float) -> list[dict[str, object]]:
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "features" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim <= 1 or "features" in name]
    return [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
