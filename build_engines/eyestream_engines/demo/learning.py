"""How the towers are trained: every picture against every text, each pair true, false or open. Knows no files."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyestream.banks.onnx import Vocabulary
from eyestream.records import Pixels
from eyestream.testing.eyes import Eye
from eyestream.testing.eyes.claims import CLAIMS
from eyestream_engines.demo import texts
from eyestream_engines.demo.network import ImageTower, TextTower

log = logging.getLogger(__name__)


REPORT: Final = 50
"""Steps between lines of the log."""
SHARPNESS: Final = 10.0
"""Scale of the cosines by which a text is told from the other claims."""


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
    text_steps: int = 1500


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is true in one step.

    `texts` [pictures, texts] and `anchors` [pictures, claims] as 1, 0 or -1 where it cannot be said; `claims` [texts]
    is the claim a text states, -1 where it states two.
    """

    texts: Tensor
    anchors: Tensor
    claims: Tensor


class Model(nn.Module):
    """Both towers, the two numbers that turn a cosine into the odds of a text, and an anchor for each claim.

    The anchors are scaffolding: they pull pictures towards what is true of them and texts towards what they say from
    the first step on, when texts still all sound alike. Nothing that is served has them.
    """

    def __init__(self, image: ImageTower, text: TextTower, dim: int) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.anchors = nn.Parameter(torch.randn(len(CLAIMS), dim))

    def odds(self, pictures: Tensor, said: Tensor) -> Tensor:
        """Log-odds [pictures, texts] of unit vectors."""
        return self.scale.exp() * pictures @ said.T + self.bias

    def pull(self, pictures: Tensor, said: Tensor, lesson: Lesson) -> Tensor:
        """The loss: pictures against texts, pictures against anchors, texts against anchors."""
        anchors = functional.normalize(self.anchors)
        alone = lesson.claims >= 0
        named = functional.cross_entropy(SHARPNESS * said[alone] @ anchors.T, lesson.claims[alone])
        pairs = _loss(self.odds(pictures, said), lesson.texts)
        return pairs + _loss(self.odds(pictures, anchors), lesson.anchors) + 0.2 * named


def learn(model: Model, vocab: Vocabulary, eyes: list[Eye], pixels: Pixels, plan: Plan) -> None:
    """Train both towers in place. The same plan and eyes give much the same model."""
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
        features = torch.from_numpy(texts.table(rng, vocab, said))
        loss = model.pull(
            model.image(torch.from_numpy(batch)), model.text(features), _lesson(said, known[flip][:, chosen])
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        running += (loss.item() - running) / min(step + 1, 50)
        if step % REPORT == 0:
            rate = (step + 1) * plan.pictures / (time.monotonic() - started)
            log.info("step %d of %d: loss %.4f, %.1f pictures a second", step, steps, running, rate)
    model.eval()


def see(model: Model, pixels: Pixels) -> Tensor:
    """The vectors of all pictures."""
    model.eval()
    with torch.inference_mode():
        parts = [model.image(torch.from_numpy(np.array(pixels[i : i + 32]))) for i in range(0, len(pixels), 32)]
    return torch.cat(parts).clone()


def read(model: Model, vocab: Vocabulary, eyes: list[Eye], vectors: Tensor, plan: Plan) -> None:
    """Train the text tower in place against pictures that no longer move: hundreds of them a step, for little work."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed + 1)
    known = texts.truth(eyes)
    moving = [*model.text.parameters(), model.scale, model.bias, model.anchors]
    optimizer = torch.optim.AdamW(moving, lr=plan.rate / 2, weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate / 2, total_steps=plan.text_steps)
    model.text.train()
    running = 0.0
    for step in range(plan.text_steps):
        chosen = rng.choice(len(eyes), size=min(len(eyes), 20 * plan.pictures), replace=False)
        said = texts.draw(rng, plan.texts)
        features = torch.from_numpy(texts.table(rng, vocab, said))
        loss = model.pull(vectors[torch.from_numpy(chosen)], model.text(features), _lesson(said, known[:, chosen]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(moving, 5.0)
        optimizer.step()
        schedule.step()
        running += (loss.item() - running) / min(step + 1, 50)
        if step % (10 * REPORT) == 0:
            log.info("reading, step %d of %d: loss %.4f", step, plan.text_steps, running)
    model.eval()


def _lesson(said: list[texts.Text], known: texts.Truth) -> Lesson:
    return Lesson(
        texts=torch.from_numpy(texts.judge(said, known)),
        anchors=torch.from_numpy(np.ascontiguousarray(known.T)),
        claims=torch.tensor([text.claims[0] if len(text.claims) == 1 else -1 for text in said]),
    )


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
