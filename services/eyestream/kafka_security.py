"""Kafka's TLS and SASL options, checked before any client sees them. Knows no client.

kafka-python takes a protocol it does not know for PLAINTEXT, and ignores certificates and passwords that its protocol
has no use for: a slip of the pen would send patients' pictures in the clear, and nobody would be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eyestream.errors import Misconfigured

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER", "AWS_MSK_IAM")


def check(options: Mapping[str, Any]) -> None:
    """Raises Misconfigured for options, under kafka-python's names, that are not what whoever wrote them meant."""
    protocol = options.get("security_protocol", "PLAINTEXT")
    if protocol not in PROTOCOLS:
        raise Misconfigured(f"Kafka's options are wrong: security_protocol is one of {', '.join(PROTOCOLS)}")
    for prefix, part, those in (("ssl_", "SSL", "SSL or SASL_SSL"), ("sasl_", "SASL", "SASL_SSL or SASL_PLAINTEXT")):
        unused = sorted(name for name in options if name.startswith(prefix))
        if unused and part not in protocol.split("_"):
            raise Misconfigured(
                f"Kafka's options are wrong: security_protocol {protocol} does not use {', '.join(unused)};"
                f" set it to {those}"
            )
    if protocol.startswith("SASL"):
        _check_login(protocol, options)


def _check_login(protocol: str, options: Mapping[str, Any]) -> None:
    mechanism = options.get("sasl_mechanism")
    if not mechanism:
        raise Misconfigured(f"Kafka's options are wrong: security_protocol {protocol} needs a sasl_mechanism")
    if mechanism not in MECHANISMS:
        raise Misconfigured(f"Kafka's options are wrong: sasl_mechanism is one of {', '.join(MECHANISMS)}")
    needed = ("sasl_plain_username", "sasl_plain_password") if mechanism.startswith(("PLAIN", "SCRAM")) else ()
    if missing := [name for name in needed if not options.get(name)]:
        raise Misconfigured(f"Kafka's options are wrong: {mechanism} needs {' and '.join(missing)}")
