"""What a load test does, as a file says it. Knows no clock, no server and no Locust."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.functional_validators import AfterValidator

from eyestream.errors import Misconfigured
from eyestream.records import Slug

FOLDER: Final = Path(__file__).parents[1] / "scenarios"
MAX_IN_ALL: Final = 1_000_000
"""Arrivals of one kind in one run: the schedule is computed ahead and held in memory."""


def _is_curve(knots: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if knots[0][0] != 0:
        raise ValueError("a rate begins at second 0")
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(knots)):
        raise ValueError("the seconds of a rate must rise")
    if any(rate < 0 for _, rate in knots):
        raise ValueError("a rate cannot be negative")
    return knots


Curve = Annotated[tuple[tuple[float, float], ...], Field(min_length=1), AfterValidator(_is_curve)]
"""[second, arrivals a second] knots, straight lines between them; the last value holds until the end."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cameras(_Part):
    """Screening devices: each with a spool and a sender of its own, as beside a real camera."""

    count: Annotated[int, Field(ge=1, le=1000)]
    rate: Curve
    """Pictures a second, of all cameras together."""
    pictures_per_exam: Annotated[int, Field(ge=1, le=8)] = 4
    between_s: Annotated[float, Field(ge=0)] = 1.0
    """From one picture of an exam to its next."""


class Photographs(_Part):
    """The eyes that are drawn before the test; cameras and Triton clients take from them by chance."""

    distinct: Annotated[int, Field(ge=1, le=500)] = 12
    height: Annotated[int, Field(ge=200, le=4000)] = 1200
    width: Annotated[int, Field(ge=200, le=6000)] = 1600


class TritonClients(_Part):
    """Programs that send whole batches to Triton beside the line."""

    count: Annotated[int, Field(ge=1, le=100)] = 1
    rate: Curve
    """Batches a second, of all clients together."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8


class Readers(_Part):
    """People at the results service: they look at the worklist, open an exam, claim it, decide it or hand it back."""

    count: Annotated[int, Field(ge=1, le=1000)] = 1
    rate: Curve
    """Exams begun a second, of all readers together."""
    decides: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of them that is decided; the others are handed back, for somebody else."""


class Outage(_Part):
    """Cameras of a region lose the way to Kafka, go on taking pictures, and find it again."""

    begins_s: Annotated[float, Field(ge=0)]
    lasts_s: Annotated[float, Field(gt=0)]
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the cameras, those with the lowest numbers."""

    @property
    def ends_s(self) -> float:
        """When the way is there again."""
        return self.begins_s + self.lasts_s


class BankSwap(_Part):
    """A new bank is put into service while pictures flow."""

    at_s: Annotated[float, Field(ge=0)]


class Scenario(_Part):
    """A load test. Times are seconds since its beginning, rates are arrivals a second, nothing waits for an answer."""

    name: Slug = "unnamed"
    title: str
    seconds: Annotated[float, Field(gt=0, le=7 * 86_400)]
    """How long arrivals last; what is under way then is waited for."""
    arrivals: Literal["poisson", "even"] = "poisson"
    seed: int = 1
    programme: Slug = "demo"
    patience_s: Annotated[float, Field(gt=0)] = 120.0
    """So long nothing may arrive, after the last was sent, before what is missing counts as lost."""
    photographs: Photographs = Photographs()
    cameras: Cameras | None = None
    triton: TritonClients | None = None
    readers: Readers | None = None
    outage: Outage | None = None
    bank_swap: BankSwap | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if not (self.cameras or self.triton or self.readers):
            raise ValueError("nobody does anything: give [cameras], [triton] or [readers]")
        for name, part in (("cameras", self.cameras), ("triton", self.triton), ("readers", self.readers)):
            if part is None:
                continue
            if part.rate[-1][0] > self.seconds:
                raise ValueError(f"{name}.rate goes on after the end ({self.seconds:g} s)")
            if not 1 <= total(part.rate, self.seconds) <= MAX_IN_ALL:
                raise ValueError(f"{name}.rate must give between 1 and {MAX_IN_ALL} arrivals")
        if self.cameras and self.photographs.distinct < self.cameras.pictures_per_exam:
            raise ValueError("an exam shows no photograph twice: give photographs.distinct more of them")
        if self.outage and (self.cameras is None or self.outage.ends_s > self.seconds):
            raise ValueError("an outage needs [cameras] and must end before the test does")
        if self.bank_swap and (self.cameras is None or self.bank_swap.at_s >= self.seconds):
            raise ValueError("a swap of banks needs [cameras] and must happen before the end")
        return self

    def lasting(self, seconds: float) -> Scenario:
        """The same within another time: every curve and moment is stretched, rates stay."""
        by = seconds / self.seconds
        return self._with(
            seconds=seconds,
            cameras=self.cameras and _stretched(self.cameras, by),
            triton=self.triton and _stretched(self.triton, by),
            readers=self.readers and _stretched(self.readers, by),
            outage=self.outage
            and self.outage.model_copy(
                update={"begins_s": self.outage.begins_s * by, "lasts_s": self.outage.lasts_s * by}
            ),
            bank_swap=self.bank_swap and BankSwap(at_s=self.bank_swap.at_s * by),
        )

    def with_cameras(self, count: int) -> Scenario:
        """The same with so many cameras, each as busy as before: the rate grows with them."""
        if self.cameras is None:
            return self
        by = count / self.cameras.count
        rate = tuple((second, rate * by) for second, rate in self.cameras.rate)
        return self._with(cameras=self.cameras.model_copy(update={"count": count, "rate": rate}))

    def without_readers(self) -> Scenario:
        """The same where there is no results service. Raises Misconfigured when nothing is left of it."""
        if self.cameras is None and self.triton is None:
            raise Misconfigured(f"{self.name} is all readers, and LOAD_WEB_URL names no results service for them.")
        return self._with(readers=None)

    def _with(self, **changes: Any) -> Scenario:
        """A changed copy that was checked anew."""
        changed = self.model_dump() | {
            name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in changes.items()
        }
        try:
            return Scenario.model_validate(changed)
        except ValidationError as error:
            raise Misconfigured(f"{self.name} cannot be changed so:\n{_explain(error)}") from None


def total(curve: Curve, seconds: float) -> float:
    """How many arrivals the curve gives until then."""
    knots = [*curve, (seconds, curve[-1][1])] if curve[-1][0] < seconds else [*curve]
    return sum((later - earlier) * (a + b) / 2 for (earlier, a), (later, b) in pairwise(knots))


def available() -> list[str]:
    """The scenarios that come with eyestream, by name."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load(name: str) -> Scenario:
    """The scenario of that name, or in that TOML file. Raises Misconfigured, naming each wrong key and the place."""
    file = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        told = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(available())
        raise Misconfigured(f"There is no scenario {name}: name a TOML file, or one of {known}.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"The scenario {file} cannot be read: {error}") from None
    try:
        named = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")
        return Scenario.model_validate({"name": named or "unnamed"} | told)
    except ValidationError as error:
        raise Misconfigured(f"The scenario {file} is wrong:\n{_explain(error)}") from None


def _stretched(part: Any, by: float) -> Any:
    return part.model_copy(update={"rate": tuple((second * by, rate) for second, rate in part.rate)})


def _explain(error: ValidationError) -> str:
    return "\n".join(
        f"  {'.'.join(map(str, fault['loc'])) or 'as a whole'}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    )
