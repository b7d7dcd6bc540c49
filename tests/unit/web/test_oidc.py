"""Tokens of an OpenID provider that the test runs itself."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from eyestream.errors import Misconfigured, Unavailable
from eyestream.testing.contracts_readings import WallClock
from eyestream.web.guard import Guard
from eyestream.web.limits import Buckets
from eyestream.web.oidc import Issuer, NotOurs, fetch

RSA_KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
EC_KEY = ec.generate_private_key(ec.SECP256R1())
URL = "https://id.example/realms/eyes"


class Provider:
    """An OpenID provider: what its two addresses answer, and tokens."""

    def __init__(self, clock, url=URL):
        self.clock = clock
        self.url = url
        self.keys = {"one": RSA_KEYS[0]}
        self.asked = 0
        self.away = False
        self.calls_itself = url

    def fetch(self, url):
        self.asked += 1
        if self.away:
            raise OSError("away")
        answers = {
            f"{self.url}/.well-known/openid-configuration": {
                "issuer": self.calls_itself,
                "jwks_uri": f"{self.url}/keys",
            },
            f"{self.url}/keys": {"keys": [self.public(kid) for kid in self.keys]},
        }
        return json.dumps(answers[url]).encode()

    def public(self, kid):
        key = self.keys[kid]
        algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}

    def token(self, kid="one", *, alg="RS256", key=None, headers=None, **claims):
        at = self.clock()
        held = {
            "iss": self.url,
            "aud": "eyestream",
            "sub": "ada@clinic.example",
            "iat": at,
            "exp": at + 300,
            "scope": "openid eyestream:read eyestream:decide",
            **claims,
        }
        held = {name: value for name, value in held.items() if value is not None}
        return jwt.encode(held, key or self.keys[kid], algorithm=alg, headers={"kid": kid, **(headers or {})})


@pytest.fixture
def clock():
    return WallClock()


@pytest.fixture
def provider(clock):
    return Provider(clock)


@pytest.fixture
def issuer(provider, clock):
    return Issuer(
        URL, audience="eyestream", algorithms=("RS256", "ES256"), fetch=provider.fetch, clock=clock, max_age_s=300
    )


async def test_a_token_tells_who_asks_and_what_they_may(issuer, provider, clock):
    principal = await issuer.principal(provider.token())
    assert (principal.who, principal.how) == ("ada@clinic.example", "oidc")
    assert principal.scopes == {"read", "decide"}
    assert principal.expires == clock() + 300


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        (["eyestream:score", "other:read"], {"score"}),
        ("read decide operate", set()),
        (None, set()),
        (7, set()),
        ("eyestream:everything", set()),
        ("eyestream:read@ eyestream:@demo eyestream:read@a@b eyestream:read@DEMO", set()),
    ],
)
async def test_only_scopes_of_ours_count(issuer, provider, claim, scopes):
    assert (await issuer.principal(provider.token(scope=claim))).scopes == scopes


async def test_a_token_may_hold_a_scope_for_some_programmes_alone(issuer, provider):
    claim = "eyestream:read eyestream:read@demo eyestream:decide@demo eyestream:decide@glaucoma"
    principal = await issuer.principal(provider.token(scope=claim))
    assert principal.reach("read") is None
    assert principal.reach("decide") == {"demo", "glaucoma"}
    assert principal.reach("operate") == set()
    assert principal.may("decide", "demo")
    assert not principal.may("decide", "others")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-service"},
        {"aud": None},
        {"iss": "https://id.example/realms/other"},
        {"iss": None},
        {"exp": None},
        {"exp": "soon"},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 129},
        {"sub": "line\nbreak"},
        {"sub": "key:ward-7"},
        {"nbf": 1_772_352_000 + 3600},
    ],
)
async def test_a_token_for_others_or_for_nobody_is_refused(issuer, provider, changes):
    with pytest.raises(NotOurs):
        await issuer.principal(provider.token(**changes))


async def test_a_token_expires_by_our_clock(issuer, provider, clock):
    token = provider.token()
    clock.step(329)
    await issuer.principal(token)
    clock.step(2)
    with pytest.raises(NotOurs):
        await issuer.principal(token)


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_a_token_signed_with_nothing_or_with_the_public_key_is_refused(issuer, provider, clock):
    """The two classic ways to be taken for somebody else."""
    payload = b64(json.dumps({"iss": URL, "aud": "eyestream", "sub": "eve", "exp": clock() + 99}).encode())
    unsigned = b64(b'{"alg":"none","kid":"one"}') + f".{payload}."
    public = (
        RSA_KEYS[0]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    signed = b64(b'{"alg":"HS256","kid":"one"}') + f".{payload}"
    confused = f"{signed}.{b64(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"
    for token in (unsigned, confused):
        with pytest.raises(NotOurs):
            await issuer.principal(token)


async def test_a_token_signed_by_another_key_is_refused(issuer, provider):
    with pytest.raises(NotOurs):
        await issuer.principal(provider.token(key=RSA_KEYS[1]))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 9000, "e30.e30.e30", "\ud800.a.b", "é.é.é"])
async def test_what_is_no_token_is_refused(issuer, token):
    with pytest.raises(NotOurs):
        await issuer.principal(token)


async def test_elliptic_curves_are_taken_too_and_algorithms_do_not_mix(issuer, provider):
    provider.keys["curve"] = EC_KEY
    assert (await issuer.principal(provider.token("curve", alg="ES256"))).who == "ada@clinic.example"
    with pytest.raises(NotOurs):
        await issuer.principal(provider.token("one", alg="PS256"))


@pytest.mark.parametrize("alg", ["RS512", "PS256"])
async def test_a_key_that_names_no_algorithm_may_use_any_of_its_kind_that_we_take(provider, clock, alg):
    issuer = Issuer(URL, audience="eyestream", algorithms=(alg, "ES256"), fetch=provider.fetch, clock=clock)
    assert (await issuer.principal(provider.token(alg=alg))).who == "ada@clinic.example"
    for other in ("RS256", "RS384"):
        with pytest.raises(NotOurs):
            await issuer.principal(provider.token(alg=other))
    confused = jwt.encode({"sub": "eve"}, EC_KEY, algorithm="ES256", headers={"kid": "one"})
    with pytest.raises(NotOurs):
        await issuer.principal(confused)


async def test_a_key_that_names_its_algorithm_is_used_with_that_alone(provider, clock):
    named = provider.public
    provider.public = lambda kid: {**named(kid), "alg": "RS256"}
    issuer = Issuer(URL, audience="eyestream", algorithms=("RS256", "PS256"), fetch=provider.fetch, clock=clock)
    await issuer.principal(provider.token())
    with pytest.raises(NotOurs):
        await issuer.principal(provider.token(alg="PS256"))


async def test_the_keys_are_fetched_once_for_many_tokens(issuer, provider):
    tokens = [provider.token(jti=str(number)) for number in range(20)]
    await asyncio.gather(*(issuer.principal(token) for token in tokens))
    assert provider.asked == 2


async def test_a_new_key_is_found_and_an_old_one_forgotten(issuer, provider, clock):
    before = provider.token()
    await issuer.principal(before)
    provider.keys = {"two": RSA_KEYS[1]}
    clock.step(11)
    assert (await issuer.principal(provider.token("two"))).who == "ada@clinic.example"
    with pytest.raises(NotOurs):
        await issuer.principal(before)


async def test_a_withdrawn_key_is_forgotten_though_nobody_uses_another(issuer, provider, clock):
    await issuer.principal(provider.token())
    provider.keys = {"two": RSA_KEYS[1]}
    clock.step(301)
    with pytest.raises(NotOurs):
        await issuer.principal(provider.token("one", key=RSA_KEYS[0]))


async def test_invented_keys_do_not_make_us_ask_on_and_on(issuer, provider, clock):
    await issuer.principal(provider.token())
    for number in range(50):
        with pytest.raises(NotOurs):
            await issuer.principal(provider.token(headers={"kid": f"invented-{number}"}))
    assert provider.asked == 2
    clock.step(11)
    with pytest.raises(NotOurs):
        await issuer.principal(provider.token(headers={"kid": "invented"}))
    assert provider.asked == 4


async def test_while_the_provider_is_away_its_last_keys_are_believed(issuer, provider, clock):
    await issuer.principal(provider.token())
    provider.away = True
    clock.step(3600)
    assert (await issuer.principal(provider.token())).who == "ada@clinic.example"


async def test_a_provider_that_hangs_holds_up_nobody_whose_key_is_known(provider, clock):
    """But the one whose request asks it."""
    hangs, answer = threading.Event(), threading.Event()

    def fetch(url):
        if provider.away:
            hangs.set()
            assert answer.wait(10)
        return provider.fetch(url)

    issuer = Issuer(URL, audience="eyestream", algorithms=("RS256",), fetch=fetch, clock=clock, max_age_s=300)
    await issuer.principal(provider.token())
    provider.away = True
    answer.set()
    clock.step(301)
    await issuer.principal(provider.token())
    clock.step(11)
    hangs.clear()
    answer.clear()
    async with asyncio.timeout(10):
        asks = asyncio.create_task(issuer.principal(provider.token()))
        await asyncio.to_thread(hangs.wait, 10)
        assert (await issuer.principal(provider.token())).who == "ada@clinic.example"
        assert not asks.done()
        answer.set()
        await asks


async def test_keys_grow_old_though_the_clock_was_put_back(issuer, provider, clock):
    await issuer.principal(provider.token())
    clock.step(-86_400)
    provider.keys = {"two": RSA_KEYS[1]}
    assert (await issuer.principal(provider.token("two"))).who == "ada@clinic.example"
    with pytest.raises(NotOurs):
        await issuer.principal(provider.token("one", key=RSA_KEYS[0]))


async def test_a_provider_that_never_answered_is_away_and_not_asked_by_every_request(issuer, provider, clock):
    provider.away = True
    for _ in range(5):
        with pytest.raises(Unavailable, match="token issuer"):
            await issuer.principal(provider.token())
    assert provider.asked == 1
    provider.away = False
    clock.step(11)
    await issuer.principal(provider.token())


async def test_a_provider_that_calls_itself_otherwise_is_not_believed(issuer, provider):
    provider.calls_itself = "https://evil.example"
    with pytest.raises(Unavailable):
        await issuer.principal(provider.token())


@pytest.mark.parametrize("url", ["http://id.example", "ftp://id.example", "id.example", "file:///etc/passwd"])
def test_a_provider_is_asked_over_https_alone(url):
    with pytest.raises(Misconfigured, match="https"):
        Issuer(url, audience="eyestream", algorithms=("RS256",))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        b"what is this?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n\xff",
    ],
    ids=["half", "no HTTP", "no JSON"],
)
async def test_a_provider_that_answers_nonsense_is_away(provider, clock, answer):
    url = await served(answer)
    nonsense = False
    issuer = Issuer(
        URL,
        audience="eyestream",
        algorithms=("RS256",),
        fetch=lambda name: fetch(url) if nonsense else provider.fetch(name),
        clock=clock,
    )
    await issuer.principal(provider.token())
    nonsense = True
    clock.step(3600)
    assert (await issuer.principal(provider.token())).who == "ada@clinic.example"


async def test_a_provider_that_sends_us_where_all_can_listen_is_not_followed():
    url = await served(b"HTTP/1.1 302 Found\r\nLocation: http://id.example/keys\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(Misconfigured, match="https"):
        await asyncio.to_thread(fetch, url)


async def served(answer):
    """The address of a server that answers so to one request."""

    async def tell(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        server.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.fixture
def running_provider(clock):
    """The same provider behind a socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = provider.fetch(f"{provider.url}{self.path}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(clock, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield provider
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_whole_request_with_a_token_of_a_provider_that_runs(world, clock, running_provider, is_problem):
    issuer = Issuer(running_provider.url, audience="eyestream", algorithms=("RS256",), fetch=fetch, clock=clock)
    world.change(guard=Guard(keys=None, issuer=issuer, requests=Buckets(10, 100, clock=clock)))
    client = world.client(None)
    good = {"Authorization": f"Bearer {running_provider.token()}"}
    answer = await client.get("/v1/programmes/demo/worklist", headers=good)
    assert answer.status_code == 200
    assert await world.recorded() == [("ada@clinic.example", "worklist.viewed")]
    bad = {"Authorization": f"Bearer {running_provider.token(aud='another')}"}
    refused = await client.get("/v1/programmes/demo/worklist", headers=bad)
    is_problem(refused, 401, "not-authenticated")
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    is_problem(await client.get("/v1/audit", headers=good), 403, "not-allowed")
