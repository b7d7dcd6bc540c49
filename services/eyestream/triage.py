"""An exam's pictures to one decision under a programme's rules. Nothing here scores a picture or stores one.

The rules:

1.  Pictures are a set: order does not matter, and the same picture twice is one picture. A picture that was judged is
    no longer unreadable, whatever an earlier note says.
2.  A picture is *judged* when it could be read and no quality condition failed it. Findings of judged pictures count.
    Findings of ungradable pictures are noted, or count too where the programme says `findings = "refer"`.
3.  A positive finding that counts and has an urgency refers its eye and the exam. Nothing else in the exam takes that
    back: not a fellow picture that is clear, ungradable or unreadable. Without an urgency it is noted. A finding that
    the programme does not know, judged under another version, refers with its least urgent referral: whoever removed
    it had not seen this picture.
4.  Rules raise: when a rule's findings are there together, in one eye or in either as it says, each of them has at
    least its urgency. A picture of an unknown eye counts for both eyes here, since it is one of them.
5.  An eye is *clear* only when each field the programme asks for was judged, for every finding of the programme, in a
    picture known to be of that eye, and nothing refers it. A picture that does not say its eye clears neither. Where
    the programme takes whatever eye was photographed such pictures are an eye of their own, and each must be judged,
    because two of them may be two eyes. Pictures that carry more than one pseudonym may be of several patients, and
    clear no eye.
6.  An eye that is neither referred nor clear is *ungradable* when a picture that may show what is lacking could not be
    judged, else *missing*. From `refer_after` such pictures of one eye on, the exam is referred for that reason.
7.  The outcome is the first that applies of refer, recapture (an eye is ungradable), incomplete (an eye is missing)
    and clear. The urgency is the highest of all that speak. The rank is ten times the urgency's rank plus the outcome's
    place, so that within one urgency disease comes before a repeat, and a repeat before a wait.

A programme that does not decide refers nobody and clears nobody: rules 3 and 4 are left out, an eye is missing whatever
was judged, and a note says why.

It follows, and is tested, that a picture with a finding that refers never lowers the rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from eyestream.programmes import NO_ACTION, Programme
from eyestream.records import Decision, Finding, Laterality, Picture, Reason

Outcome = Literal["refer", "clear", "recapture", "incomplete"]

_PLACE: Final[Mapping[Outcome, int]] = {"clear": 0, "incomplete": 1, "recapture": 2, "refer": 3}
_EYES: Final[tuple[Laterality, ...]] = ("R", "L", "U")
_NAME: Final[Mapping[Laterality, str]] = {"R": "right eye", "L": "left eye", "U": "unknown eye"}
_ANY: Final = "retina"
MIXED: Final = "the pictures carry {count} pseudonyms and may be of several patients: they clear nobody"
UNDECIDED: Final = "scored only, for this encoder has no operating points; nothing follows from it"


def decide(programme: Programme, exam_id: str, pictures: Sequence[Picture]) -> Decision:
    """The exam's decision; pure, and of the set of pictures only.

    `reasons` holds, for each eye and condition found, the picture in which it is most probable, most urgent first.
    `notes` are sentences for a clinician. `eyes` has the unknown eye only when it refers or stands for itself.
    """
    exam = _Exam(programme, _distinct(pictures))
    reasons, raised = exam.reasons()
    eyes = exam.eyes(reasons)
    spoken = [reason.urgency for reason in reasons] + [eye.urgency for eye in eyes]
    urgency = max(spoken, key=programme.rank_of)
    outcome = _outcome(eyes)
    return Decision(
        exam_id=exam_id,
        outcome=outcome,
        urgency=urgency,
        rank=10 * programme.rank_of(urgency) + _PLACE[outcome],
        eyes={eye.laterality: eye.status for eye in eyes},
        reasons=tuple(reasons),
        notes=(*raised, *(note for eye in eyes for note in eye.notes), *exam.remarks(reasons)),
    )


def scored_only(decision: Decision) -> frozenset[Laterality]:
    """The eyes whose pictures were scored under a programme that does not decide; empty for any other's decision."""
    return frozenset(eye for eye in _EYES if f"{_NAME[eye]}: {UNDECIDED}" in decision.notes)


def undecided(decision: Decision) -> bool:
    """Whether it waits for no picture though it is incomplete: its programme scores and does not decide."""
    return decision.outcome == "incomplete" and bool(scored_only(decision))


@dataclass(frozen=True, slots=True)
class _Eye:
    laterality: Laterality
    status: Literal["referred", "clear", "ungradable", "missing"]
    wanted: bool
    given_up: bool = False
    urgency: str = NO_ACTION
    notes: tuple[str, ...] = ()


def _outcome(eyes: Sequence[_Eye]) -> Outcome:
    wanted = [eye for eye in eyes if eye.wanted]
    if any(eye.status == "referred" for eye in eyes) or any(eye.given_up for eye in wanted):
        return "refer"
    if any(eye.status == "ungradable" for eye in wanted):
        return "recapture"
    return "incomplete" if not wanted or any(eye.status == "missing" for eye in wanted) else "clear"


def _distinct(pictures: Sequence[Picture]) -> list[Picture]:
    read = {picture.image_id for picture in pictures if picture.unreadable is None}
    kept = {picture for picture in pictures if picture.unreadable is None or picture.image_id not in read}
    by_image = sorted(kept, key=lambda picture: picture.image_id)
    if len(read) + sum(1 for picture in kept if picture.unreadable is not None) == len(kept):
        return by_image
    # One image with two results, of two banks say: both stay, in an order of their own that costs more to find.
    return sorted(kept, key=lambda picture: (picture.image_id, repr(picture)))


def _judged(picture: Picture) -> bool:
    return picture.ungradable is None and picture.unreadable is None


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True, slots=True)
class _Exam:
    programme: Programme
    pictures: list[Picture]

    def reasons(self) -> tuple[list[Reason], list[str]]:
        """Every positive finding that counts, most urgent first, and the rules that raised them."""
        if not self.programme.decides:
            return [], []
        best: dict[tuple[Laterality, str], Reason] = {}
        for picture, finding in self._positives():
            key = (picture.laterality, finding.condition)
            if self._counts(picture) and (key not in best or finding.probability > best[key].finding.probability):
                best[key] = Reason(*key[:1], picture.image_id, finding, self._urgency_of(finding.condition))
        raised = []
        for rule in self.programme.rules:
            for eyes in (_EYES,) if rule.where == "either-eye" else (("R", "U"), ("L", "U")):
                together = [key for key in best if key[0] in eyes and key[1] in rule.when]
                if len({condition for _, condition in together}) >= rule.needed:
                    raised.append(f"{rule.because}: {rule.urgency}")
                    best |= {key: self._raise(best[key], rule.urgency) for key in together}
        return sorted(best.values(), key=self._order), list(dict.fromkeys(raised))

    def eyes(self, reasons: Iterable[Reason]) -> list[_Eye]:
        """Right, left and, where it says something, unknown."""
        referred = {reason.laterality for reason in reasons if reason.urgency != NO_ACTION}
        eyes = [self._eye(laterality, referred=laterality in referred) for laterality in _EYES]
        return [eye for eye in eyes if eye.laterality != "U" or eye.wanted or eye.status == "referred"]

    def remarks(self, reasons: Iterable[Reason]) -> Iterator[str]:
        """What a clinician should know beside the decision."""
        if self._patients() > 1:
            yield MIXED.format(count=self._patients())
        for reason in reasons:
            if self.programme.condition(reason.finding.condition) is None:
                yield f"{reason.finding.condition}: found under another version of the programme, so referred"
            elif reason.urgency == NO_ACTION:
                yield f"{self._title(reason.finding.condition)} in the {_NAME[reason.laterality]}: noted, not referred"
        for laterality in _EYES:
            failed = [p for p in self.pictures if p.laterality == laterality and not _judged(p)]
            if failed:
                why = sorted({self._title(p.unreadable or p.ungradable or "") for p in failed})
                yield f"{_NAME[laterality]}: {_plural(len(failed), 'picture')} could not be judged ({', '.join(why)})"
            over = {f.condition for p, f in self._positives() if p.laterality == laterality and not self._counts(p)}
            if over:
                yield f"{_NAME[laterality]}: not counted for that: {', '.join(sorted(map(self._title, over)))}"
        unknown = sum(1 for p in self.pictures if p.laterality == "U")
        if unknown and self.programme.required.eyes == "both":
            yield f"{_plural(unknown, 'picture')} of an unknown eye: cannot clear an eye"

    def _eye(self, laterality: Laterality, *, referred: bool) -> _Eye:
        mine = [picture for picture in self.pictures if picture.laterality == laterality]
        wanted = laterality != "U" if self.programme.required.eyes == "both" else bool(mine)
        lacking = self._lacking(mine)
        failed = [p for p in mine if not _judged(p) and (lacking & {p.field, _ANY} or (lacking and p.field == "other"))]
        if laterality == "U":
            failed = [picture for picture in mine if not _judged(picture)]
        if not wanted:
            return _Eye(laterality, "referred" if referred else "missing", wanted)
        if failed:
            urgency, given_up = self._after(failed)
            note = f"{_NAME[laterality]}: referred because {_plural(len(failed), 'picture')} of it could not be judged"
            absent = self._wait(laterality, mine, lacking - {_ANY, *(picture.field for picture in failed)})
            notes = (note, *absent) if given_up else absent
            return _Eye(laterality, "referred" if referred else "ungradable", wanted, given_up, urgency, notes)
        if lacking:
            status: Literal["referred", "missing"] = "referred" if referred else "missing"
            urgency = self.programme.incomplete.urgency
            return _Eye(laterality, status, wanted, urgency=urgency, notes=self._wait(laterality, mine, lacking))
        if self._patients() > 1 and not referred:
            return _Eye(laterality, "missing", wanted, urgency=self.programme.incomplete.urgency)
        return _Eye(laterality, "referred" if referred else "clear", wanted)

    def _patients(self) -> int:
        return len({picture.subject for picture in self.pictures} - {""})

    def _lacking(self, mine: Iterable[Picture]) -> set[str]:
        """The required fields that no judged picture of this eye shows."""
        if not self.programme.decides:
            return {_ANY}
        asked = {condition.id for condition in self.programme.findings}
        complete = [p for p in mine if _judged(p) and asked <= {finding.condition for finding in p.findings}]
        if not self.programme.required.fields:
            return set() if complete else {_ANY}
        return {field for field in self.programme.required.fields if all(p.field != field for p in complete)}

    def _wait(self, laterality: Laterality, mine: Iterable[Picture], lacking: set[str]) -> tuple[str, ...]:
        notes = []
        for field in sorted(lacking):
            if not self.programme.decides and mine:
                notes.append(f"{_NAME[laterality]}: {UNDECIDED}")
            elif any(_judged(p) and field in {p.field, _ANY} for p in mine):
                notes.append(f"{_NAME[laterality]}: not judged for all the programme asks now; score it again")
            else:
                notes.append(f"{_NAME[laterality]}: no picture of the {field} yet")
        return tuple(dict.fromkeys(notes))

    def _after(self, failed: Sequence[Picture]) -> tuple[str, bool]:
        """The urgency of pictures that could not be judged, and whether there were enough of them to refer."""
        urgencies = []
        given_up = False
        unreadable = sum(1 for picture in failed if picture.unreadable is not None)
        policies = (self.programme.unreadable, unreadable), (self.programme.ungradable, len(failed) - unreadable)
        for policy, count in policies:
            if count:
                urgencies.append(policy.urgency)
                enough = policy.refer_after is not None and count >= policy.refer_after
                given_up |= enough and self.programme.decides
        return max(urgencies, key=self.programme.rank_of), given_up

    def _positives(self) -> Iterator[tuple[Picture, Finding]]:
        return ((p, finding) for p in self.pictures for finding in p.findings if finding.positive)

    def _counts(self, picture: Picture) -> bool:
        return _judged(picture) or (picture.unreadable is None and self.programme.ungradable.findings == "refer")

    def _urgency_of(self, condition_id: str) -> str:
        condition = self.programme.condition(condition_id)
        return self.programme.least_referral if condition is None else condition.urgency

    def _raise(self, reason: Reason, urgency: str) -> Reason:
        return replace(reason, urgency=max(reason.urgency, urgency, key=self.programme.rank_of))

    def _order(self, reason: Reason) -> tuple[int, float, int, str]:
        place = _EYES.index(reason.laterality)
        return -self.programme.rank_of(reason.urgency), -reason.finding.probability, place, reason.finding.condition

    def _title(self, condition_id: str) -> str:
        condition = self.programme.condition(condition_id)
        return condition_id if condition is None else condition.title
