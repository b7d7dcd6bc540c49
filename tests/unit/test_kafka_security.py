"""Kafka's TLS and SASL options: a slip of the pen must not send pictures in the clear."""

from __future__ import annotations

import pytest

from eyestream import kafka_security
from eyestream.brokers.connection import KafkaOptions
from eyestream.errors import Misconfigured

LOGIN = {"sasl_plain_username": "reader", "sasl_plain_password": "secret"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"security_protocol": "SSL", "ssl_cafile": "/ca.pem", "ssl_check_hostname": True},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "ssl_cafile": "/ca.pem", **LOGIN},
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **LOGIN},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI"},
    ],
)
def test_options_that_fit_together_pass(options):
    kafka_security.check(options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"security_protocol": "TLS"}, "one of PLAINTEXT, SSL"),
        ({"security_protocol": "sasl_ssl", "sasl_mechanism": "PLAIN"}, "one of PLAINTEXT, SSL"),
        ({"ssl_cafile": "/ca.pem"}, "does not use ssl_cafile; set it to SSL or SASL_SSL"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "ssl_certfile": "/c"}, "ssl_certfile"),
        ({"security_protocol": "SSL", "sasl_plain_password": "secret"}, "does not use sasl_plain_password"),
        ({"security_protocol": "SASL_SSL"}, "needs a sasl_mechanism"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-51", **LOGIN},
            "sasl_mechanism is one of PLAIN",
        ),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_password": "secret"},
            "PLAIN needs sasl_plain_username",
        ),
    ],
)
def test_options_that_would_not_do_what_they_say_are_refused(options, says):
    with pytest.raises(Misconfigured, match=says) as caught:
        kafka_security.check(options)
    assert "secret" not in str(caught.value)


def test_every_client_of_the_line_is_checked():
    with pytest.raises(Misconfigured, match="security_protocol"):
        KafkaOptions(bootstrap="kafka:9092", security={"security_protocol": "TLS"})
