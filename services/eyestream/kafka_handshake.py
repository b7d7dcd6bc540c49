"""Which broker takes a connection, TLS included; asked before kafka-python is. Knows neither topics nor records.

kafka-python waits for the end of a TLS handshake without a bound: behind a load balancer that takes connections while
its brokers are away, its caller would hang for ever. Nor does it say which of its options it could not use.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from eyestream.errors import Misconfigured, Unavailable

_DEFAULT_PORT: Final = 9092
_PROXIES: Final = frozenset({"proxy_url", "socks5_proxy"})


def tls(options: Mapping[str, Any]) -> ssl.SSLContext | None:
    """What kafka-python's ssl_ options say as a context, None where no TLS is spoken.

    Raises Misconfigured for a file that cannot be used, naming the option.
    """
    if options.get("security_protocol") not in ("SSL", "SASL_SSL"):
        return None
    if options.get("ssl_context") is not None:
        given: ssl.SSLContext = options["ssl_context"]
        return given
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = options.get("ssl_check_hostname", True)
    name = "ssl_cafile"
    try:
        if options.get(name):
            context.load_verify_locations(options[name])
        else:
            context.load_default_certs()
        if options.get(name := "ssl_certfile"):
            # Without a password OpenSSL would ask for one at the terminal.
            password = options.get("ssl_password") or ""
            context.load_cert_chain(options[name], options.get("ssl_keyfile"), password)
        if options.get(name := "ssl_crlfile"):
            context.load_verify_locations(options[name])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        if options.get(name := "ssl_ciphers"):
            context.set_ciphers(options[name])
    except (OSError, ValueError) as error:
        what = "ssl_certfile, ssl_keyfile or ssl_password" if name == "ssl_certfile" else name
        raise Misconfigured(f"Kafka's options are wrong: {what} cannot be used ({_why(error)})") from error
    return context


def answering(
    servers: Sequence[str], options: Mapping[str, Any], context: ssl.SSLContext | None, *, within_s: float
) -> list[str]:
    """The first of the bootstrap servers that takes a connection and, under TLS, ends its handshake. Blocks.

    All of them where a proxy stands between, which alone can tell. Raises Unavailable when none does in time.
    """
    addresses = [_address(server) for server in servers]
    if _PROXIES & options.keys():
        return list(servers)
    deadline = time.monotonic() + within_s
    refusal = ""
    for number, (server, address) in enumerate(zip(servers, addresses, strict=True)):
        # One that is silent leaves the others their share of the time.
        share_s = max(0.05, (deadline - time.monotonic()) / (len(servers) - number))
        try:
            with socket.create_connection(address, timeout=share_s) as connection:
                if context is not None:
                    context.wrap_socket(connection, server_hostname=address[0].rstrip(".")).close()
        except OSError as error:
            refusal = _why(error)
        else:
            return [server]
    raise Unavailable("kafka", f"none of {', '.join(servers)} takes a connection ({refusal})")


def _address(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon:
        host, port = server, str(_DEFAULT_PORT)
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise Misconfigured(f"{server!r} is no bootstrap server: write host:port")
    return host.strip("[]"), int(port)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
