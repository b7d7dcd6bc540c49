"""How eyestream is run: the only module that reads settings files and the environment.

Sources, weakest first: the defaults below, a TOML file, `EYESTREAM_SECTION__FIELD` in the environment. What a model is
(its input, digest, preprocessing) is not set here: the worker reads that back from the server.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from eyestream.errors import Misconfigured

PREFIX: Final = "EYESTREAM_"
FILE_VARIABLE: Final = "EYESTREAM_SETTINGS"
"""Names the TOML file when the command line does not."""


_file: ContextVar[Path | None] = ContextVar("settings file", default=None)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Kafka(_Section):
    """Where pictures come from."""

    bootstrap: str = "127.0.0.1:9092"
    """host:port of one or more brokers, separated by commas."""
    topic: str = "screening.images"
    """The topic that devices write to; its dead letters go to `<topic>.dlq`."""
    group: str = "eyestream-screening"
    """The consumer group; its members share the partitions."""
    max_message_bytes: int = Field(default=16 * 2**20, ge=2**20)
    """Largest record the topic accepts (its max.message.bytes); larger pictures travel by reference."""
    session_timeout_ms: int = Field(default=6000, ge=1000)
    """A member silent for this long is replaced; results flow again about this long after a crash."""
    max_prefetch_bytes: int = Field(default=64 * 2**20, ge=2**20)
    """Bytes held ready beyond what the line is working on."""
    security: dict[str, str | int | bool] = Field(default_factory=dict)
    """TLS and SASL options of kafka-python, e.g. security_protocol, ssl_cafile, sasl_mechanism."""
    security_files: dict[str, Path] = Field(default_factory=dict)
    """The same, each read from a mounted secret file at start, e.g. sasl_plain_password."""


class Triton(_Section):
    """Where the engine is served."""

    address: str = "127.0.0.1:8001"
    """host:port of gRPC; a headless service's name gives client-side balancing."""
    model: str = "eyestream-demo"
    """The model's name in Triton's repository."""
    timeout_s: float = Field(default=10.0, gt=0)
    """A request without an answer for this long counts as Triton being away."""
    may_reload: bool = False
    """Let a worker reload a model whose process died; needs Triton's explicit control mode."""


class Redis(_Section):
    """Where results go."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """redis:// or rediss:// URL; any node of a cluster."""
    cluster: bool = False
    """True for a Redis cluster."""
    shards: int = Field(default=16, ge=1, le=1024)
    """Hash tags that exams are spread over; never change it once results are stored."""
    wait_replicas: int = Field(default=0, ge=0)
    """Replicas that must hold a result before its picture is acknowledged."""
    wait_fsync: bool = False
    """Wait for the server's append-only file to reach the disk (WAITAOF, Redis 7.2 or Valkey)."""
    wait_timeout_ms: int = Field(default=3000, ge=1)
    """How long to wait for either before trying again; with `appendfsync everysec` the disk is a second away."""


class Banks(_Section):
    """What pictures are scored against."""

    shelf: Path = Path("banks")
    """Folder of published banks; the line follows its `current` pointers while it runs."""
    poll_s: float = Field(default=1.0, gt=0)
    """How often the pointers are looked at."""


class LineSettings(_Section):
    """How much one worker takes on at once."""

    max_batch: int = Field(default=8, ge=1)
    """Pictures in one request to Triton; capped by the engine's own largest batch."""
    max_wait_s: float = Field(default=0.05, ge=0)
    """How long a picture waits at the most for its batch to fill."""
    depth: int | None = Field(default=None, ge=1)
    """Batches with Triton or Redis together; 2 × the model's instances when not given."""
    decoders: int = Field(default=2, ge=1)
    """Threads that decode pictures."""
    max_in_flight: int = Field(default=256, ge=1)
    """Pictures fetched and not yet acknowledged."""
    max_in_flight_bytes: int = Field(default=512 * 2**20, ge=2**20)
    """Their files' bytes."""
    stalled_after_s: float = Field(default=120.0, gt=0)
    """A line that finishes nothing for this long, while every part answers, is called unhealthy and replaced."""


class Pictures(_Section):
    """What a picture may weigh, and where references may point."""

    max_bytes: int = Field(default=64 * 2**20, ge=1)
    """Largest file."""
    max_pixels: int = Field(default=120_000_000, ge=1)
    """Most pixels, checked in the header before anything is decoded."""
    references: tuple[str, ...] = ()
    """Prefixes of object-store URLs that a message may refer to; none by default."""


class Serve(_Section):
    """How Ray Serve hosts the line."""

    replicas: int = Field(default=1, ge=1)
    """Workers, when the lag does not decide."""
    max_replicas: int | None = Field(default=None, ge=1)
    """Scale up to this many by the lag, never beyond the topic's partitions; a fixed number when not given."""
    lag_per_replica: int = Field(default=200, ge=1)
    """Messages waiting that justify one more worker."""
    drain_timeout_s: float = Field(default=60.0, gt=0)
    """How long a leaving worker may take to store what it holds."""
    health_period_s: float = Field(default=2.0, gt=0)
    """How often a worker's line is asked for its health."""


class Web(_Section):
    """How the results service answers, and whom."""

    host: str = "127.0.0.1"
    """Address it listens on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port it listens on."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the port, when it runs without Ray Serve; replicas, when with it."""
    issuer: str = ""
    """URL of the OpenID provider whose tokens are taken; none when empty."""
    audience: str = "eyestream"
    """The `aud` that a token must name."""
    scope_claim: str = "scope"
    """The claim that holds the scopes: a list, or words separated by spaces."""
    scope_prefix: str = "eyestream:"
    """What stands before read, decide, score and operate in that claim."""
    algorithms: tuple[Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"], ...] = ("RS256", "ES256")
    """How a token may be signed."""
    issuer_keys_s: float = Field(default=300.0, gt=0)
    """How long the issuer's keys are believed before they are fetched again."""
    api_keys: Path | None = None
    """TOML file of hashed API keys, made by `eyestream web key`; read again when it changes."""
    unprotected: bool = False
    """Let anybody do anything; only on a loopback address, for trials."""
    requests_per_s: float = Field(default=50.0, gt=0)
    """Requests a second that one user or key may make in the long run, at each process."""
    burst: int = Field(default=200, ge=1)
    """Requests that they may make at once, at each process."""
    claim_s: float = Field(default=900.0, ge=10, le=86_400)
    """How long a claimed exam is held for its reader without a sign of life."""
    audit_days: int = Field(default=3650, ge=1)
    """How long the record of who saw and decided what is kept."""
    scores_at_once: int = Field(default=2, ge=1)
    """Uploaded pictures that are scored together; more are asked to come again."""
    max_streams: int = Field(default=200, ge=1)
    """Clients that follow events at each process."""


class Telemetry(_Section):
    """What can be watched."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Smallest level that is logged."""
    metrics_host: str = "127.0.0.1"
    """Address the metrics are served on."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port the metrics are served on; 0 takes a free one, written to `members`.

    Of several processes or replicas of the results service each takes the next.
    """
    members: Path | None = None
    """Folder where each worker on this machine leaves its metrics address, for `eyestream status`."""


class Settings(BaseSettings):
    """Every section, read once by the process's entry point; below it nobody sees more than its own."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    kafka: Kafka = Kafka()
    triton: Triton = Triton()
    redis: Redis = Redis()
    banks: Banks = Banks()
    line: LineSettings = LineSettings()
    pictures: Pictures = Pictures()
    serve: Serve = Serve()
    web: Web = Web()
    telemetry: Telemetry = Telemetry()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library names it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment over the file over the defaults; no .env file, whose place in a container is unclear."""
        file = _file.get()
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if file is not None:
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=file))
        return tuple(sources)


def load(file: Path | None = None) -> Settings:
    """The settings this process runs with.

    Raises Misconfigured, naming each wrong key and what was expected, also for an `EYESTREAM_` variable that nothing
    reads: a typing error must not be ignored.
    """
    file = file or (Path(named) if (named := os.environ.get(FILE_VARIABLE)) else None)  # noqa: TID251  # the one reader
    if file is not None and not file.is_file():
        raise Misconfigured(f"There is no settings file {file}: write one, or leave it out to use the defaults.")
    _refuse_strays()
    token = _file.set(file)
    try:
        return Settings()
    except ValidationError as error:
        raise Misconfigured(_explain(error, file)) from error
    except ValueError as error:  # TOML that does not parse
        raise Misconfigured(f"The settings file {file} cannot be read: {error}") from error
    finally:
        _file.reset(token)


def _refuse_strays() -> None:
    known = {FILE_VARIABLE}
    for name, section in Settings.model_fields.items():
        section_type: Any = section.annotation
        known.add(f"{PREFIX}{name}".upper())
        known |= {f"{PREFIX}{name}__{field}".upper() for field in section_type.model_fields}
    for variable in os.environ:  # noqa: TID251  # the one reader
        if not variable.upper().startswith(PREFIX):
            continue
        if not any(variable.upper() == name or variable.upper().startswith(f"{name}__") for name in known):
            raise Misconfigured(
                f"The environment sets {variable}, which no setting reads: mend its name or unset it "
                f"(in Kubernetes, enableServiceLinks: false keeps a Service from making such variables)."
            )


def _explain(error: ValidationError, file: Path | None) -> str:
    lines = [
        f"  {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    ]
    return "\n".join([f"The settings are wrong (file: {file or 'none'}, and {PREFIX}* in the environment):", *lines])
