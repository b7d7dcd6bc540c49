"""Kafka as national programmes run it: TLS, a certificate of an authority of their own, and a login."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hashlib
import ipaddress
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kafka.admin import KafkaAdminClient, ScramMechanism, UserScramCredentialUpsertion
from typer.testing import CliRunner

from eyestream import settings as settings_module
from eyestream.apps import device_options, smoke
from eyestream.apps.kafka import kafka_options
from eyestream.apps.local import Stack
from eyestream.apps.local.base import Place
from eyestream.apps.local.kafka import Kafka
from eyestream.apps.redrive import commands
from eyestream.apps.status import statuses
from eyestream.brokers.backlog import Backlog
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.kafka import KafkaBroker
from eyestream.brokers.lookup import Lookup
from eyestream.brokers.redrive import read_dead_letters
from eyestream.brokers.topics import create_topics
from eyestream.device.intake import image_id
from eyestream.device.producer import Sender
from eyestream.device.spool import Spool
from eyestream.device.transport import KafkaTarget
from eyestream.errors import EyestreamError, Misconfigured, Rejected, Unavailable
from eyestream.records import ImageMeta, Message
from eyestream.settings import Settings

pytestmark = pytest.mark.stack

USER, PASSWORD, WRONG = "camera-1", "hunter2-hunter2", "hunter3-hunter3"
BOUND_S = 20.0
"""More than any of these clients may take to give up, on a machine with other things to do."""


class Authority:
    """Signs one certificate, for 127.0.0.1; `keystore` holds its key and chain as Kafka reads them."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.keystore = folder / "ca.crt", folder / "broker.pem"
        own, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _certificate("authority", own, "authority", own, x509.BasicConstraints(ca=True, path_length=0))
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.certificate.write_bytes(root)
        self.keystore.write_bytes(private + _certificate("broker", key, "authority", own, address) + root)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> bytes:
    subject, signed_by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(signed_by, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class GuardedKafka(Kafka):
    """The local Kafka behind TLS and logins. Its own door stays for the stack alone; `endpoints` tell the guarded one.

    A third calls the broker by a name, `localhost`, for which its certificate was not made.
    """

    ports = (*Kafka.ports, "kafka-guarded", "kafka-misnamed")

    def __init__(self, authority: Authority) -> None:
        super().__init__(())
        self._authority = authority
        self.misnamed = ""

    def endpoints(self, ports):
        self.misnamed = f"127.0.0.1:{ports['kafka-misnamed']}"
        return {"kafka": f"127.0.0.1:{ports['kafka-guarded']}"}

    def properties(self, place: Place) -> dict[str, object]:
        given = super().properties(place)
        guarded, misnamed = place.ports["kafka-guarded"], place.ports["kafka-misnamed"]
        doors = f"GUARDED://127.0.0.1:{guarded},MISNAMED://"
        logins = {
            "plain": f'plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            "scram-sha-512": "scram.ScramLoginModule required;",
        }
        return {
            **given,
            "listeners": f"{given['listeners']},{doors}127.0.0.1:{misnamed}",
            "advertised.listeners": f"{given['advertised.listeners']},{doors}localhost:{misnamed}",
            "listener.security.protocol.map": (
                f"{given['listener.security.protocol.map']},GUARDED:SASL_SSL,MISNAMED:SASL_SSL"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._authority.keystore,
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            **{
                f"listener.name.{door}.{mechanism}.sasl.jaas.config": f"org.apache.kafka.common.security.{module}"
                for door in ("guarded", "misnamed")
                for mechanism, module in logins.items()
            },
        }

    def ready(self, place: Place) -> None:
        super().ready(place)
        admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{place.ports['kafka']}")
        admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, ScramMechanism.SCRAM_SHA_512, PASSWORD)])
        admin.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(authority: Authority) -> GuardedKafka:
    return GuardedKafka(authority)


@pytest.fixture(scope="module")
def stack(required: Callable[[str], None], state: Path, guarded: GuardedKafka) -> Iterator[Stack]:
    """A stack of the module's own, of this Kafka alone."""
    with Stack(state, model_repository=state, parts=[guarded]) as stack:
        try:
            stack.up()
        except (Misconfigured, Unavailable) as error:
            required(f"NO LOCAL KAFKA, SO NOTHING OF ITS TLS IS TESTED: {error}")
        yield stack


@pytest.fixture(params=["SCRAM-SHA-512"])
def settings_file(request: pytest.FixtureRequest, stack: Stack, authority: Authority, tmp_path: Path) -> Path:
    """The line's settings as an operator writes them: the password in a file of its own, with a line's end."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    file = tmp_path / "settings.toml"
    file.write_text(
        f"""
[kafka]
bootstrap = "{stack.endpoints.kafka}"
topic = "tls-{uuid.uuid4().hex[:12]}"
session_timeout_ms = 2000
[kafka.security]
security_protocol = "SASL_SSL"
sasl_mechanism = "{request.param}"
sasl_plain_username = "{USER}"
ssl_cafile = "{authority.certificate}"
[kafka.security_files]
sasl_plain_password = "{tmp_path / "password"}"
[triton]
address = "127.0.0.1:1"
timeout_s = 0.1
[redis]
url = "redis://127.0.0.1:1/0"
[banks]
shelf = "{tmp_path}"
"""
    )
    return file


@pytest.fixture
def settings(settings_file: Path) -> Settings:
    return settings_module.load(settings_file)


@pytest.fixture
def options(settings: Settings) -> KafkaOptions:
    """Those of a line whose topics are there."""
    options = kafka_options(settings.kafka)
    create_topics(options, partitions=1)
    return options


def device(settings: Settings) -> KafkaTarget:
    """Where a device sends that was given the same settings on its command line."""
    kafka = settings.kafka
    plain = [f"{name}={value}" for name, value in kafka.security.items()]
    secret = [f"{name}={file}" for name, file in kafka.security_files.items()]
    return device_options.target(kafka.bootstrap, kafka.topic, 2**20, plain, secret)


def send(settings: Settings, data: bytes, spool_file: Path) -> ImageMeta:
    """One picture from a device's spool; returns once Kafka has acknowledged it."""
    sha256 = hashlib.sha256(data).hexdigest()
    meta = ImageMeta(
        image_id=image_id("exam-1", sha256, 0),
        exam_id="exam-1",
        subject_id="a" * 32,
        site_id="north",
        device_id="camera-1",
        captured_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        programme="demo",
        sha256=sha256,
    )
    with Spool(spool_file, min_free_bytes=0) as spool:
        spool.put(meta, data, content_type="image/jpeg")
        deadline = time.monotonic() + BOUND_S
        Sender(spool, device(settings).connect, max_message_bytes=2**20).run(
            until=lambda: spool.depth().waiting == 0 or time.monotonic() > deadline, poll_s=0.05
        )
        assert spool.depth().sent == 1
    return meta


async def take(options: KafkaOptions, *, refuse: bool = False) -> Message:
    """The next picture as the line reads it, acknowledged; among the dead letters when it is refused."""
    broker = KafkaBroker(options)
    async with asyncio.timeout(BOUND_S), aclosing(broker.messages()) as messages:
        message = await anext(messages)
        if refuse:
            await broker.dead_letter(message, Rejected("truncated", "Send it again."), attempts=1)
        await broker.acknowledge(message.position)
    await broker.close()
    return message


@pytest.mark.parametrize("settings_file", ["SCRAM-SHA-512", "PLAIN"], indirect=True)
async def test_a_picture_goes_from_a_device_to_the_line_which_acknowledges_it(settings, options, tmp_path):
    backlog = Backlog(options)
    picture = bytes(range(256)) * 1000
    meta = await asyncio.to_thread(send, settings, picture, tmp_path / "spool.db")
    assert backlog.count() == 1
    message = await take(options)
    assert message.value == picture
    assert ImageMeta.model_validate_json(message.headers["eyestream-meta"]) == meta
    assert backlog.count() == 0
    backlog.close()
    lookup = Lookup(options)
    assert lookup.message(message.position).value == picture
    lookup.close()


async def test_a_refused_picture_is_listed_and_put_back_as_it_was(settings, settings_file, options, tmp_path):
    await asyncio.to_thread(send, settings, b"half a picture", tmp_path / "spool.db")
    refused = await take(options, refuse=True)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(commands, [*arguments, "-s", str(settings_file)], env={"COLUMNS": "250"})
        assert done.exit_code == 0, done.output
        return done.output

    assert "truncated" in await asyncio.to_thread(run, "list", "--waiting")
    assert "1 put back" in await asyncio.to_thread(run, "replay", "--all")
    assert await asyncio.to_thread(run, "list", "--waiting") == "No dead letters.\n"
    again = await take(options)
    assert (again.value, again.key) == (refused.value, refused.key)
    assert again.headers["eyestream-redrive-count"] == b"1"


async def test_whoever_asks_how_kafka_stands_is_told(settings, options, tmp_path, capsys):
    await asyncio.to_thread(send, settings, b"picture", tmp_path / "spool.db")
    told = {one.part: one for one in await statuses(settings)}
    assert told["kafka"].well, told["kafka"].told
    assert told["kafka"].told.startswith(f"1 pictures wait in {options.topic} (partitions: 1), 0 records")
    await asyncio.to_thread(smoke.check_kafka, settings)
    assert f"kafka: {options.topic} has 1 partitions, {options.dead_letter_topic} has 1" in capsys.readouterr().out


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong, and the words in which each client has to tell it."""

    changed: dict[str, str]
    device: str
    line: str
    host: str = "127.0.0.1"
    patience_s: float = 1.0


def a_fault(name: str, folder: Path) -> Fault:
    if name == "password":
        shut_out = "lets nobody in: .* the user and (the )?password right"
        # A login has to be tried: Kafka takes its time over each.
        return Fault({"sasl_plain_password": WRONG}, shut_out, f"invalid credentials|{shut_out}", patience_s=3.0)
    if name == "authority":
        other = Authority(folder).certificate
        refused = "its certificate is not accepted: certificate signature failure"
        return Fault({"ssl_cafile": str(other)}, refused, refused)
    refused = "its certificate is not accepted: Hostname mismatch, certificate is not valid for 'localhost'"
    return Fault({}, refused, refused, host="localhost")


async def read(options: KafkaOptions) -> None:
    broker = KafkaBroker(options)
    try:
        async with aclosing(broker.messages()) as messages:
            await anext(messages)
    finally:
        await broker.close()


CLIENTS = {
    "device": lambda target, options: target.connect(),
    "line": lambda target, options: asyncio.run(read(options)),
    "redrive": lambda target, options: read_dead_letters(options),
}


@pytest.mark.parametrize("name", ["password", "authority", "host"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_door_that_does_not_open_is_told_in_time_and_without_the_password(
    client, name, settings, options, tmp_path, caplog, capfd
):
    fault = a_fault(name, tmp_path)
    security = {**options.security, **fault.changed}
    bootstrap = options.bootstrap.replace("127.0.0.1", fault.host)
    target = dataclasses.replace(
        device(settings), bootstrap=bootstrap, security=security, connect_timeout_s=fault.patience_s
    )
    wrong = dataclasses.replace(
        options, bootstrap=bootstrap, security=security, start_timeout_s=fault.patience_s, close_timeout_s=1.0
    )
    before = time.monotonic()
    with pytest.raises(EyestreamError, match=fault.device if client == "device" else fault.line) as caught:
        CLIENTS[client](target, wrong)
    assert time.monotonic() - before < BOUND_S
    assert (type(caught.value) is Misconfigured) is (client == "line" and name == "password")
    told = "".join([*traceback.format_exception(caught.value), caplog.text, repr(target), *capfd.readouterr()])
    assert PASSWORD not in told
    assert WRONG not in told


async def checked_on(broker: KafkaBroker) -> None:
    """Ends with what `check` raises; a TimeoutError when it never does."""
    async with asyncio.timeout(BOUND_S):
        while True:
            await broker.check()
            await asyncio.sleep(0.1)


async def test_a_line_whose_broker_calls_itself_otherwise_than_its_certificate_does_not_pass_for_well(options, guarded):
    broker = KafkaBroker(dataclasses.replace(options, bootstrap=guarded.misnamed))
    reading = asyncio.create_task(anext(broker.messages()))
    with pytest.raises(Unavailable, match="no answer for"):
        await checked_on(broker)
    await broker.close()
    with pytest.raises(StopAsyncIteration):
        await reading
