"""Which broker answers: asked with a bound on the time, and in words that tell what to mend and no password."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from eyestream import kafka_handshake
from eyestream.brokers.backlog import Backlog
from eyestream.brokers.connection import KafkaOptions, require_answer
from eyestream.brokers.lookup import Lookup
from eyestream.device.transport import KafkaTarget
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Position

PASSWORD = "hunter2-hunter2"


class Authority:
    """Signs one certificate for 127.0.0.1: its own."""

    def __init__(self, folder):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        self.certificate, self.key, self.locked = folder / "tls.crt", folder / "tls.key", folder / "locked.key"
        self.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        for file, encryption in (
            (self.key, serialization.NoEncryption()),
            (self.locked, serialization.BestAvailableEncryption(PASSWORD.encode())),
        ):
            pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            file.write_bytes(key.private_bytes(pem, form, encryption))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.contextmanager
def listening(answer):
    """host:port of a server that hands each connection to `answer` and keeps it open."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.settimeout(5)
                    kept.append(connection)
                    with contextlib.suppress(OSError):
                        kept.append(answer(connection))

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for connection in filter(None, kept):
        connection.close()


@pytest.fixture
def silent():
    """A load balancer whose brokers are away."""
    with listening(lambda _: None) as address:
        yield address


@pytest.fixture
def heard():
    """The first bytes of each connection under TLS; none of one that only shook hands."""
    return []


@pytest.fixture
def speaks_tls(authority, heard):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)

    def answer(connection):
        connection = context.wrap_socket(connection, server_side=True)
        heard.append(connection.recv(4))
        return connection

    with listening(answer) as address:
        yield address


def answering(servers, options, within_s=2.0):
    return kafka_handshake.answering(servers, options, kafka_handshake.tls(options), within_s=within_s)


def test_a_broker_that_ends_its_handshake_answers(speaks_tls, authority):
    options = {"security_protocol": "SSL", "ssl_cafile": str(authority.certificate)}
    assert answering([speaks_tls], options) == [speaks_tls]


def test_one_that_is_silent_leaves_time_for_the_next(silent, speaks_tls, authority):
    options = {"security_protocol": "SSL", "ssl_cafile": str(authority.certificate)}
    assert answering(["127.0.0.1:1", silent, speaks_tls], options) == [speaks_tls]


def test_a_certificate_that_nobody_vouches_for_is_told(speaks_tls):
    with pytest.raises(Unavailable, match="its certificate is not accepted: self-signed certificate"):
        answering([speaks_tls], {"security_protocol": "SSL"})


def test_a_sender_waits_for_no_handshake_for_ever(silent):
    target = KafkaTarget(bootstrap=silent, connect_timeout_s=0.5, security={"security_protocol": "SSL"})
    before = time.monotonic()
    with pytest.raises(Unavailable, match="takes a connection"):
        target.connect()
    assert time.monotonic() - before < 5


def test_the_line_waits_for_no_handshake_for_ever(silent):
    options = KafkaOptions(bootstrap=silent, security={"security_protocol": "SSL"})
    before = time.monotonic()
    with pytest.raises(Unavailable, match="takes a connection"):
        require_answer(options, within_s=0.5)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    "ask",
    [
        lambda options: Backlog(options, timeout_s=0.5).count(),
        lambda options: Lookup(options, timeout_s=0.5).message(Position("pictures", 0, 0)),
    ],
)
def test_whoever_asks_one_thing_waits_as_long_as_it_says_and_not_as_long_as_a_start(silent, ask):
    before = time.monotonic()
    with pytest.raises(Unavailable, match="lets nobody in: are the security_protocol, the user and the password right"):
        ask(KafkaOptions(bootstrap=silent))
    assert time.monotonic() - before < 5


def test_a_server_that_is_no_kafka_is_told_from_one_that_is_away(silent):
    with pytest.raises(Unavailable, match="takes connections and lets nobody in: is it Kafka"):
        KafkaTarget(bootstrap=silent, connect_timeout_s=0.5).connect()
    with pytest.raises(Unavailable, match=r"none of 127\.0\.0\.1:1 takes a connection"):
        KafkaTarget(bootstrap="127.0.0.1:1", connect_timeout_s=0.5).connect()


def test_the_client_shakes_hands_with_the_same_files(speaks_tls, authority, heard):
    security = {"security_protocol": "SSL", "ssl_cafile": str(authority.certificate)}
    with pytest.raises(Unavailable, match="lets nobody in"):
        KafkaTarget(bootstrap=speaks_tls, connect_timeout_s=0.5, security=security).connect()
    assert [len(first) for first in heard[:2]] == [0, 4]


def test_behind_a_proxy_only_the_proxy_can_tell():
    servers = ["broker.far:9092", "other.far:9092"]
    assert answering(servers, {"proxy_url": "socks5://127.0.0.1:1"}) == servers


@pytest.mark.parametrize("server", [":", ":9092", "broker:", "broker:kafka", "broker:99999", ""])
def test_an_address_that_is_none_is_told(server):
    with pytest.raises(Misconfigured, match="write host:port"):
        answering([server], {})


def test_a_key_under_a_password_is_read_with_it_and_asks_nobody_without(authority):
    options = {
        "security_protocol": "SSL",
        "ssl_certfile": str(authority.certificate),
        "ssl_keyfile": str(authority.locked),
    }
    assert kafka_handshake.tls(options | {"ssl_password": PASSWORD})
    with pytest.raises(Misconfigured, match="ssl_certfile, ssl_keyfile or ssl_password cannot be used"):
        kafka_handshake.tls(options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"security_protocol": "SSL", "ssl_cafile": "/nowhere"}, "ssl_cafile cannot be used"),
        ({"security_protocol": "SSL", "ssl_cafile": __file__}, "ssl_cafile cannot be used"),
        ({"security_protocol": "SSL", "ssl_crlfile": "/nowhere"}, "ssl_crlfile cannot be used"),
        ({"security_protocol": "SSL", "ssl_ciphers": "none such"}, "ssl_ciphers cannot be used"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-51", "sasl_plain_password": PASSWORD},
            "sasl_mechanism is one of PLAIN, SCRAM-SHA-256",
        ),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_password": PASSWORD},
            "PLAIN needs sasl_plain_username",
        ),
        (
            {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "PLAIN",
                "sasl_plain_username": "u",
                "sasl_plain_password": PASSWORD,
                "sasl_plain_pasword": PASSWORD,
            },
            "kafka-python knows no sasl_plain_pasword",
        ),
    ],
)
def test_options_that_cannot_be_are_told_by_name_and_never_by_value(silent, options, says):
    with pytest.raises(Misconfigured, match=says) as caught:
        KafkaTarget(bootstrap=silent, connect_timeout_s=0.5, security=options).connect()
    assert PASSWORD not in str(caught.value)
