"""What went in against what came out, by identity. Reads Redis and Kafka; changes nothing and breaks nothing."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eyestream.apps.drills.pictures import Lot
from eyestream.banks.shelf import Bank
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.deadletters import DeadLetter
from eyestream.records import Finding, ImageMeta, Position, Screening, Vectors, now, utc
from eyestream.scoring import score
from eyestream.sinks.redis_reader import ResultsReader

SAME = 0.002
"""How far a probability may lie from that of the picture scored alone: what another batch size does to FP16."""


@dataclass(frozen=True, slots=True)
class Account:
    """One scenario's books.

    `lost` counts pictures with neither their own result nor their own dead letter. `faults` says what else is wrong:
    a result nobody asked for, a wrong reason, an offset that was not committed. `flows_after_s` is how long after the
    fault results came again, None where nothing stopped.
    """

    scenario: str
    pictures: int
    lost: int
    conflicts: int
    duplicates: int
    flows_after_s: float | None
    took_s: float
    faults: tuple[str, ...] = ()

    @property
    def balanced(self) -> bool:
        """True when the line kept its promises."""
        return not (self.lost or self.conflicts or self.faults)


class Alone:
    """What each picture says when it is encoded and scored with no other beside it."""

    def __init__(self, embeddings: Mapping[str, Vectors], banks: Sequence[Bank]) -> None:
        self._embeddings = embeddings
        self._banks = {bank.head.digest: bank for bank in banks}

    def belongs(self, screening: Screening) -> bool:
        """True when this is the result of its own picture under the bank it names."""
        bank = self._banks.get(screening.identity.bank)
        vector = self._embeddings.get(screening.meta.sha256)
        if bank is None or vector is None:
            return False
        [alone] = score(bank.head, vector[None])
        return _alike(alone.findings, screening.findings) and alone.ungradable == screening.ungradable


def _alike(one: Sequence[Finding], other: Sequence[Finding]) -> bool:
    mine = {finding.condition: finding.probability for finding in one}
    theirs = {finding.condition: finding.probability for finding in other}
    return mine.keys() == theirs.keys() and all(abs(mine[name] - theirs[name]) <= SAME for name in mine)


async def stored_results(reader: ResultsReader, metas: Sequence[ImageMeta]) -> list[Screening]:
    """Every result of these exams, whatever image it is of."""
    results: list[Screening] = []
    for exam in dict.fromkeys(meta.exam_id for meta in metas):
        results += await reader.screenings(exam)
    return results


def check_results(metas: Sequence[ImageMeta], results: Sequence[Screening], alone: Alone) -> tuple[int, list[str]]:
    """How many pictures have no result of their own, and what is wrong beside that."""
    found: defaultdict[str, list[Screening]] = defaultdict(list)
    for result in results:
        found[result.meta.image_id].append(result)
    lost, faults = 0, []
    for meta in metas:
        own = found.pop(meta.image_id, [])
        right = [one for one in own if one.meta == meta and alone.belongs(one)]
        if not right:
            lost += 1
            faults.append(f"{meta.image_id} of {meta.exam_id} has no result")
        if len(own) > len(right):
            faults.append(f"{meta.image_id} has a result that is not its own")
        if len(right) > 1:
            faults.append(f"{meta.image_id} has {len(right)} results")
    faults += [f"{image} was never sent and has a result" for image in found]
    return lost, faults


def check_letters(lot: Lot, sent: Mapping[Position, int], letters: Sequence[DeadLetter]) -> tuple[int, int, list[str]]:
    """How many bad pictures have no dead letter, how many have more than one, and what is wrong beside that.

    `sent` says which parcel of the lot lies at a position of the topic: the one identity that even a message without
    readable headers has.
    """
    by_parcel: defaultdict[int, list[str]] = defaultdict(list)
    for letter in letters:
        if (number := sent.get(letter.original)) is not None:
            by_parcel[number].append(letter.reason)
    lost, again, faults = 0, 0, []
    for number, parcel in enumerate(lot.parcels):
        reasons = by_parcel.pop(number, [])
        if parcel.meta is not None:
            faults += [f"a good picture is a dead letter: {reason}" for reason in reasons]
            continue
        if not reasons:
            lost += 1
            faults.append(f"{parcel.key.decode()} was not refused for {parcel.reason}")
        again += max(0, len(reasons) - 1)
        faults += [f"refused for {reason} instead of {parcel.reason}" for reason in reasons if reason != parcel.reason]
    return lost, again, faults


async def counters(reader: ResultsReader, programme: str) -> Counter[str]:
    """`stored`, `duplicate`, `conflict` since yesterday: a drill may pass midnight."""
    today = utc(now()).date()
    total: Counter[str] = Counter()
    for day in (today, today - dt.timedelta(days=1)):
        total.update(await reader.counts(programme, day))
    return total


def uncommitted(options: KafkaOptions) -> int:
    """How many messages of the topic the group has not acknowledged. Blocks; raises OSError or KafkaError."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(**{**options.consumer_config(), "group_id": options.group})
    try:
        parts = [TopicPartition(options.topic, number) for number in consumer.partitions_for_topic(options.topic) or ()]
        ends = consumer.end_offsets(parts)
        return sum(ends[part] - (consumer.committed(part) or 0) for part in parts)
    finally:
        consumer.close()


def flows_after(results: Sequence[Screening], at: float) -> float | None:
    """Seconds from the fault to the end of the longest silence that followed; None when no result came after it.

    The first result after the fault would be too kind a measure: what was past the broken part is stored all the same.
    """
    times = sorted(t for result in results if (t := result.timings.stored) is not None and t > at)
    if not times:
        return None
    moments = [at, *times]
    end = max(range(1, len(moments)), key=lambda index: moments[index] - moments[index - 1])
    return moments[end] - at
