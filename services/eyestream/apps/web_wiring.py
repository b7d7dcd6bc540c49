"""What the results service is put together from: settings → the services the application works with."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final

from eyestream import records
from eyestream.apps import stores
from eyestream.apps.kafka import kafka_options
from eyestream.banks.shelf import Bank, Shelf
from eyestream.brokers.backlog import Backlog
from eyestream.brokers.lookup import Lookup
from eyestream.decoding import Limits
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured
from eyestream.settings import Settings
from eyestream.sinks.redis_feed import RedisFeed
from eyestream.sinks.redis_reader import ResultsReader
from eyestream.sinks.redis_readings import RedisReadings
from eyestream.telemetry import Verb, WebMetrics
from eyestream.web.deadletters import LineLetters
from eyestream.web.engine import EngineRoom
from eyestream.web.explainer import LineExplainer
from eyestream.web.guard import Guard
from eyestream.web.keys import KeyFile
from eyestream.web.limits import Buckets
from eyestream.web.oidc import Issuer
from eyestream.web.pictures import LinePictures
from eyestream.web.pulse import LineBacklog
from eyestream.web.scorer import LineScorer
from eyestream.web.services import House, Services

log = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0


class CurrentBanks:
    """The shelf's banks in service, whatever encoder they are for; looked at anew at most every `poll_s`.

    A bank that cannot be read leaves the one before in its place.
    """

    def __init__(self, shelf: Shelf, *, poll_s: float) -> None:
        self._shelf = shelf
        self._poll_s = poll_s
        self._banks: Mapping[str, Bank] = {}
        self._served: dict[str, object] = {}

    def __call__(self) -> Mapping[str, Bank]:
        """As of the last look. Does not block."""
        return self._banks

    def look(self) -> None:
        """Take what changed. Blocks for a few file operations."""
        try:
            names = self._shelf.programmes()
        except Misconfigured as error:
            log.warning("%s", error, extra={"action": Verb.RETRIED, "part": "shelf"})
            return
        for name in names:
            try:
                history = self._shelf.history(name)
                if history and self._served.get(name) != history[-1]:
                    bank = self._shelf.current(name)
                    self._banks = {**self._banks, **({name: bank} if bank else {})}
                    self._served[name] = history[-1]
            except (Misconfigured, FileNotFoundError) as error:
                log.warning("bank refused: %s", error, extra={"action": Verb.REFUSED, "programme": name})

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._poll_s)
            await asyncio.to_thread(self.look)


def guard(settings: Settings) -> Guard:
    """Who may ask, by these settings. Raises Misconfigured when nobody could, or anybody from elsewhere."""
    web = settings.web
    if web.unprotected and not _is_loopback(web.host):
        raise Misconfigured(f"web.unprotected is for trials on this machine, and web.host is {web.host}: unset one.")
    issuer = None
    if web.issuer:
        issuer = Issuer(
            web.issuer,
            audience=web.audience,
            algorithms=web.algorithms,
            scope_claim=web.scope_claim,
            scope_prefix=web.scope_prefix,
            max_age_s=web.issuer_keys_s,
        )
    return Guard(
        keys=KeyFile(web.api_keys) if web.api_keys else None,
        issuer=issuer,
        requests=Buckets(web.requests_per_s, web.burst, clock=records.now),
        unprotected=web.unprotected,
    )


@contextlib.asynccontextmanager
async def services(settings: Settings, metrics: WebMetrics) -> AsyncIterator[Services]:
    """Everything the application works with, for as long as the block runs. Connects to nothing yet.

    Raises Misconfigured for object stores that pictures cannot be read from.
    """
    stores.require(settings.pictures.references, named="pictures.references")
    redis, web, kafka = settings.redis, settings.web, kafka_options(settings.kafka)
    limits = Limits(max_bytes=settings.pictures.max_bytes, max_pixels=settings.pictures.max_pixels)
    url, cluster = redis.url.get_secret_value(), redis.cluster
    results, feed = ResultsReader(url, cluster=cluster), RedisFeed(url, cluster=cluster)
    readings = RedisReadings(url, cluster=cluster, audit_kept_s=web.audit_days * _DAY_S)
    pictures = LinePictures(Lookup(kafka), stores=settings.pictures.references, max_bytes=settings.pictures.max_bytes)
    engines = EngineRoom(
        lambda: TritonEncoder.connect(
            settings.triton.address, settings.triton.model, timeout_s=settings.triton.timeout_s
        ),
        settings.banks.shelf,
        limits=limits,
        threads=web.scores_at_once,
    )
    letters, backlog = LineLetters(kafka), LineBacklog(Backlog(kafka))
    banks = CurrentBanks(Shelf(settings.banks.shelf), poll_s=settings.banks.poll_s)
    await asyncio.to_thread(banks.look)
    following = asyncio.create_task(banks.follow())
    try:
        yield Services(
            results=results,
            dossiers=readings,
            readings=readings,
            audit=readings,
            feed=feed,
            pictures=pictures,
            scorer=LineScorer(engines, at_once=web.scores_at_once),
            explainer=LineExplainer(engines, views_at_once=web.scores_at_once),
            letters=letters,
            waiting=backlog.count,
            banks=banks,
            guard=guard(settings),
            metrics=metrics,
            house=House(
                claim_s=web.claim_s, max_picture_bytes=settings.pictures.max_bytes, max_streams=web.max_streams
            ),
        )
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        for part in (results, readings, feed, pictures, engines, letters, backlog):
            await part.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
