"""One screening programme, as a person wrote it down in TOML. Nothing here knows an encoder or a picture."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError, model_validator

from eyestream.errors import Misconfigured
from eyestream.programmes import prompts, reading
from eyestream.records import Digest, Slug

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]
Template = Annotated[str, StringConstraints(pattern=r"^[^{}]*\{\}[^{}]*$", max_length=400)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Threshold = Annotated[float, Field(gt=0, lt=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Urgency(_Table):
    """One step of the programme's scale: a larger rank is seen sooner, `within_days` of the exam."""

    name: Slug
    title: Words
    rank: Annotated[int, Field(ge=1, le=1000)]
    within_days: Annotated[float, Field(gt=0, allow_inf_nan=False)]


NO_ACTION: Final = "none"
"""The step below every scale: a clear exam has it, and so has a finding that is noted but not referred."""


class Calibration(_Table):
    """Platt scaling of a condition's margin m: probability = 1 / (1 + exp(-(a·m + b)))."""

    a: Annotated[Number, Field(gt=0)] = 1.0
    b: Number = 0.0


class Scoring(_Table):
    """How text becomes scores, for every condition that does not say otherwise.

    `scale` is the checkpoint's logit scale and `bias` is added to every phrase's score (nothing but SigLIP-like
    models needs it). With `renormalise` the mean of a condition's phrases is brought back to length 1, as CLIP's
    authors do; without, a condition whose phrases disagree speaks more softly, as FLAIR's authors do.
    """

    scale: Annotated[Number, Field(gt=0)] = 100.0
    bias: Number = 0.0
    renormalise: bool = True
    templates: Annotated[tuple[Template, ...], Field(min_length=1)] = ("{}",)
    operating_point: Slug = "balanced"


class Condition(_Table):
    """One thing looked for in every picture.

    With a `group` it competes with the others of its group; with `negative` phrases, with those; with neither, its
    score stands alone. `suggests` is the disease a clinician should think of.
    """

    id: Slug
    title: Words
    role: Literal["finding", "quality"] = "finding"
    suggests: str = ""
    positive: Annotated[tuple[str, ...], Field(min_length=1)]
    negative: tuple[str, ...] = ()
    group: Slug | None = None
    templates: Annotated[tuple[Template, ...], Field(min_length=1)] | None = None
    urgency: Slug = NO_ACTION
    calibration: Calibration = Calibration()
    thresholds: Annotated[dict[Slug, Threshold], Field(min_length=1)] = {"balanced": 0.5}
    operating_point: Slug | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.group is not None and self.negative:
            raise ValueError("a condition of a group competes with its group: put the negative phrases in the group")
        if self.role == "quality" and self.urgency != NO_ACTION:
            raise ValueError("a quality condition has no urgency of its own: [ungradable] says what follows")
        return self


class Group(_Table):
    """Conditions of which one picture shows at most one; `rest` are phrases for none of them (`a healthy retina`)."""

    name: Slug
    rest: tuple[str, ...] = ()


class Rule(_Table):
    """Findings that together mean more than each alone: at least `at_least` of `when` (all, if absent)."""

    name: Slug
    when: Annotated[tuple[Slug, ...], Field(min_length=1)]
    at_least: Annotated[int, Field(ge=1)] | None = None
    where: Literal["same-eye", "either-eye"] = "same-eye"
    urgency: Slug
    because: Words

    @property
    def needed(self) -> int:
        """How many of `when` must be found."""
        return len(self.when) if self.at_least is None else self.at_least

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if len(set(self.when)) != len(self.when) or self.needed > len(self.when):
            raise ValueError("`when` must name different conditions, at least `at_least` of them")
        if self.urgency == NO_ACTION:
            raise ValueError("a rule that asks for no action has no effect")
        return self


class Required(_Table):
    """The pictures without which an eye is not clear: one of each field, or any one picture when `fields` is empty."""

    eyes: Literal["both", "photographed"] = "both"
    fields: tuple[Literal["macula", "disc"], ...] = ()


class Unjudged(_Table):
    """What follows when an eye could not be judged: a recapture or, from `refer_after` pictures on, a referral."""

    urgency: Slug = NO_ACTION
    refer_after: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _referral_is_urgent(self) -> Self:
        if self.refer_after is not None and self.urgency == NO_ACTION:
            raise ValueError("refer_after needs an urgency to refer with")
        return self


class Ungradable(Unjudged):
    """As Unjudged; `findings` says whether one seen in an ungradable picture is only noted or refers all the same."""

    findings: Literal["note", "refer"] = "note"


class Incomplete(_Table):
    """How urgently a missing picture is waited for."""

    urgency: Slug = NO_ACTION


class Retention(_Table):
    """How long records may be kept; the line itself acts on `results_days` alone.

    Dead letters go when their topic's own retention says so, and embeddings are not kept at all.
    """

    results_days: Annotated[int, Field(ge=1)] = 3650
    embeddings_days: Annotated[int, Field(ge=1)] = 3650
    dead_letters_days: Annotated[int, Field(ge=1)] = 30


class Programme(_Table):
    """A screening programme. Made by `load`, `builtin` or `parse` only, which keep the text it was made from.

    `digest` is the sha256 of that text: two programmes share it exactly when their files are the same bytes.
    With `decides = false` nothing follows from a picture: it is scored, and no exam is ever clear or referred for it.
    """

    schema_version: Literal[1] = 1
    name: Slug
    title: Words
    description: str = ""
    decides: bool = True
    scoring: Scoring = Scoring()
    urgencies: Annotated[tuple[Urgency, ...], Field(min_length=1)]
    conditions: Annotated[tuple[Condition, ...], Field(min_length=1)]
    groups: tuple[Group, ...] = ()
    rules: tuple[Rule, ...] = ()
    required: Required = Required()
    ungradable: Ungradable = Ungradable()
    unreadable: Unjudged = Unjudged()
    incomplete: Incomplete = Incomplete()
    retention: Retention = Retention()
    _text: str = PrivateAttr(default="")

    @classmethod
    def load(cls, path: str | Path) -> Programme:
        """The programme in a file; raises Misconfigured naming file and line of every fault."""
        path = Path(path)
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"{path} cannot be read: {error}") from None
        return cls.parse(text, source=str(path))

    @classmethod
    def builtin(cls, name: str) -> Programme:
        """A programme that comes with eyestream; raises Misconfigured naming those that do."""
        if name not in available():
            raise Misconfigured(f"there is no built-in programme {name!r}; there are: {', '.join(available())}")
        file = resources.files("eyestream.programmes").joinpath(f"{name}.toml")
        return cls.parse(file.read_bytes().decode(), source=f"{name}.toml")

    @classmethod
    def parse(cls, text: str, *, source: str = "programme") -> Programme:
        """The programme written in `text`; `source` is what errors call it."""
        document = reading.parse(text, source)
        try:
            programme = cls.model_validate(document)
        except ValidationError as error:
            raise reading.explain(error, text, source) from None
        prompts.lint(document, text, source)
        programme._text = text  # noqa: SLF001 - our own
        return programme

    @property
    def text(self) -> str:
        """The TOML this programme was made from, comments and all."""
        return self._text

    @property
    def digest(self) -> Digest:
        """Which programme this is."""
        return Digest(hashlib.sha256(self._text.encode()).hexdigest())

    @property
    def findings(self) -> tuple[Condition, ...]:
        """The conditions that are findings, in the order written."""
        return tuple(condition for condition in self.conditions if condition.role == "finding")

    def condition(self, condition_id: str) -> Condition | None:
        """The condition of that id, if the programme has it."""
        return next((condition for condition in self.conditions if condition.id == condition_id), None)

    def rank_of(self, urgency: str) -> int:
        """The rank of a step of the scale; 0 for no action."""
        return next((step.rank for step in self.urgencies if step.name == urgency), 0)

    @property
    def least_referral(self) -> str:
        """The least urgent step that any finding or rule refers with; the lowest of the scale when none does."""
        used = {condition.urgency for condition in self.findings} | {rule.urgency for rule in self.rules}
        steps = [step for step in self.urgencies if step.name in used] or self.urgencies
        return min(steps, key=lambda step: step.rank).name

    def operating_point(self, condition: Condition) -> str:
        """The name of the operating point the condition is held against."""
        return condition.operating_point or self.scoring.operating_point

    @model_validator(mode="before")
    @classmethod
    def _unique(cls, document: Any) -> Any:
        for table, key in (("urgencies", "name"), ("conditions", "id"), ("groups", "name"), ("rules", "name")):
            rows = document.get(table, ()) if isinstance(document, dict) else ()
            names = [row.get(key) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            twice = sorted({str(name) for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{table}: {', '.join(twice)} stands there twice")
        return document

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        steps = {step.name for step in self.urgencies}
        if NO_ACTION in steps or len({step.rank for step in self.urgencies}) != len(steps):
            raise ValueError(f"urgencies: every step needs a rank of its own, and {NO_ACTION!r} is always there")
        used = [condition.urgency for condition in self.conditions] + [rule.urgency for rule in self.rules]
        used += [self.ungradable.urgency, self.unreadable.urgency, self.incomplete.urgency]
        unknown = sorted(set(used) - steps - {NO_ACTION})
        groups = {group.name for group in self.groups}
        unknown += sorted({c.group for c in self.conditions if c.group is not None} - groups)
        known = {condition.id for condition in self.findings}
        unknown += sorted({name for rule in self.rules for name in rule.when} - known)
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: used, but not defined as an urgency, a group or a finding")
        if self.decides and not known:
            raise ValueError("conditions: none is a finding, and nobody may be clear of what nobody looked for")
        for condition in self.conditions:
            if self.operating_point(condition) not in condition.thresholds:
                raise ValueError(f"{condition.id} has no threshold for {self.operating_point(condition)!r}")
        return self

    @model_validator(mode="after")
    def _disease_comes_first(self) -> Self:
        """A picture that shows disease must never lower its exam in the worklist."""
        waiting = self.rank_of(self.incomplete.urgency)
        unjudged = {"ungradable": self.ungradable.urgency, "unreadable": self.unreadable.urgency}
        least = self.rank_of(self.least_referral)
        for table, urgency in unjudged.items():
            if self.rank_of(urgency) < waiting:
                raise ValueError(f"{table}: less urgent than incomplete; a picture that came must not count less")
            if self.rank_of(urgency) > least:
                raise ValueError(
                    f"{table}: more urgent than a finding; a picture that shows disease would lower its exam"
                )
        return self


def available() -> tuple[str, ...]:
    """Names of the programmes that come with eyestream."""
    files = resources.files("eyestream.programmes").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))
