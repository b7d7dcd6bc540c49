"""A published checkpoint, held against its format to the last key. Knows names and shapes, not networks."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyestream.errors import Misconfigured
from eyestream.records import Digest
from eyestream_engines import files
from eyestream_engines.families import Expected, family_of
from eyestream_engines.spec import EncoderFile, names

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """What an encoder's network is made of, in float32, and the encoder's identity: its digest."""

    tensors: Mapping[str, Tensor]
    digest: Digest


@dataclass(frozen=True, slots=True)
class Fit:
    """How a file compares with one encoder's format."""

    encoder: EncoderFile
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    fitting: int

    @property
    def whole(self) -> bool:
        """Whether the file is of this format."""
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def likeness(self) -> float:
        """Share of all keys concerned that fit, 0 to 1."""
        faults = len(self.missing) + len(self.unexpected) + len(self.misshapen)
        return self.fitting / max(1, self.fitting + faults)


def read(encoder: EncoderFile, path: Path, *, progress: files.Progress = lambda _done, _all: None) -> Weights:
    """The encoder's weights from a file; raises Misconfigured with every fault at once, and the format it rather is."""
    hashed = files.mark(path)
    digest = files.digest(path, progress)
    weights = select(encoder, files.read(path), source=str(path))
    if files.mark(path) != hashed:
        raise Misconfigured(f"{path} changed while it was read: try again once it is whole")
    return Weights(weights, encoder.identity(digest))


def select(encoder: EncoderFile, held: Mapping[str, Any], *, source: str = "the checkpoint") -> dict[str, Tensor]:
    """What the encoder uses of what a file holds, as float32; raises Misconfigured as `read` does."""
    found = unwrap(encoder, held)
    fit = compare(encoder, found)
    if not fit.whole:
        raise Misconfigured(f"{source} is not a checkpoint of {encoder.name}.\n{faults(fit)}\n{_closest(held, fit)}")
    wanted = family_of(encoder).expected(encoder)
    used = {name: _number(value) for name, value in found.items() if name in wanted and wanted[name].use != "ignored"}
    if strange := [f"{name} ({_kind(value)})" for name, value in used.items() if not _plain(value)]:
        raise Misconfigured(
            f"{source} holds numbers of kinds that no published format has: {', '.join(_grouped(strange))}. "
            f"Save the weights as they were trained, neither quantised nor sparse."
        )
    if sick := [name for name, value in used.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise Misconfigured(f"{source} holds numbers that are not finite, in: {', '.join(_grouped(sick))}")
    return used


def unwrap(encoder: EncoderFile, held: Mapping[str, Any]) -> dict[str, Tensor]:
    """The file's tensors under the names that `Family.expected` uses; what the encoder ignores is left out."""
    told = encoder.checkpoint
    outer = _nested(held, [name for name in (told.wrapper, *told.beside) if name])
    inner = outer.get(told.wrapper) if told.wrapper else None
    found = dict(_renamed(inner if isinstance(inner, Mapping) else outer, encoder))
    for name, prefix in told.beside.items():
        if isinstance(beside := outer.get(name), Mapping):
            found |= {f"{prefix}{key}": value for key, value in _renamed(beside, encoder)}
    return found


def compare(encoder: EncoderFile, found: Mapping[str, Tensor]) -> Fit:
    """Hold tensors, as `unwrap` gives them, against the encoder's format."""
    wanted = family_of(encoder).expected(encoder)
    ill = [name for name, want in wanted.items() if name in found and not want.fits(tuple(found[name].shape))]
    return Fit(
        encoder,
        missing=tuple(name for name, want in wanted.items() if want.use == "used" and name not in found),
        unexpected=tuple(name for name in found if name not in wanted),
        misshapen=tuple(f"{name} {list(found[name].shape)}, not {_shape(wanted[name])}" for name in ill),
        fitting=sum(name in wanted for name in found) - len(ill),
    )


def fits(held: Mapping[str, Any]) -> list[Fit]:
    """The file against every format there is, the likeliest first."""
    compared = [compare(encoder, unwrap(encoder, held)) for encoder in map(EncoderFile.load, names())]
    return sorted(compared, key=lambda fit: (-fit.likeness, fit.encoder.name))


def _nested(held: Mapping[str, Any], wanted: Iterable[str]) -> Mapping[str, Any]:
    """The outer dict; one that a conversion made flat (`model.blocks.0…`) is folded again."""
    outer: dict[str, Any] = dict(held)
    for name in wanted:
        flat = {key.removeprefix(f"{name}."): key for key in held if key.startswith(f"{name}.")}
        if flat and name not in outer:
            outer[name] = {short: outer.pop(key) for short, key in flat.items()}
    return outer


def _renamed(inner: Mapping[str, Any], encoder: EncoderFile) -> Iterator[tuple[str, Tensor]]:
    import torch

    for name, value in inner.items():
        if not isinstance(value, torch.Tensor):
            continue
        short = str(name)
        for prefix in encoder.checkpoint.strip:
            short = short.removeprefix(prefix)
        for alias, prefix in encoder.checkpoint.aliases.items():
            short = prefix + short.removeprefix(alias) if short.startswith(alias) else short
        if not any(fnmatch.fnmatchcase(short, pattern) for pattern in encoder.checkpoint.ignored):
            yield short, value


def _number(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _plain(value: Tensor) -> bool:
    """Dense numbers: floating ones, or the counters and positions that some formats hold beside them."""
    import torch

    dense = value.layout == torch.strided and not value.is_meta and not value.is_quantized
    return dense and (value.is_floating_point() or value.dtype in {torch.int64, torch.int32})


def _kind(value: Tensor) -> str:
    return "without numbers" if value.is_meta else f"{value.layout} {value.dtype}".replace("torch.", "")


def faults(fit: Fit) -> str:
    """Every fault, a line for each kind."""
    told = (
        ("missing", fit.missing),
        ("unexpected", fit.unexpected),
        ("of another shape", fit.misshapen),
    )
    return "\n".join(f"  {len(keys)} {what}: {', '.join(_grouped(keys))}" for what, keys in told if keys)


def _closest(held: Mapping[str, Any], fit: Fit) -> str:
    ranked = fits(held)
    best = [other for other in ranked if other.likeness == ranked[0].likeness]
    called = ", ".join(other.encoder.name for other in best)
    if best[0].whole:
        return f"It is a checkpoint of: {called}."
    if best[0].likeness == 0:
        outer = ", ".join(map(str, list(held)[:8]))
        return f"It resembles no encoder known here; at its top it holds: {outer}."
    if fit.encoder.name in {other.encoder.name for other in best}:
        return f"No other format is closer: {fit.fitting} of its keys fit."
    return f"The closest known format is that of {called}: {best[0].fitting} keys fit, {_count(best[0])} do not."


def _count(fit: Fit) -> int:
    return len(fit.missing) + len(fit.unexpected) + len(fit.misshapen)


def _shape(want: Expected) -> str:
    assert want.shape is not None
    return "[" + ", ".join("any" if side is None else str(side) for side in want.shape) + "]"


def _grouped(keys: Iterable[str]) -> list[str]:
    """Every key, those that differ in one number told as one: `blocks.{0-23}.norm1.bias`."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    order: list[tuple[str, str]] = []
    for key in keys:
        name, _, rest = key.partition(" ")
        parts = re.split(r"\.(\d+)\.", name, maxsplit=1)
        before, number, after = parts if len(parts) == 3 else (name, None, "")  # noqa: PLR2004
        group = (f"{before}.", f".{after}{' ' if rest else ''}{rest}") if number is not None else (key, "")
        if group not in groups:
            order.append(group)
        groups[group] += [] if number is None else [int(number)]
    return [f"{before}{_range(groups[before, after])}{after}" for before, after in order]


def _range(numbers: list[int]) -> str:
    if len(numbers) <= 1:
        return "".join(map(str, numbers))
    ends: list[list[int]] = []
    for number in sorted(numbers):
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return "{" + ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ends) + "}"
