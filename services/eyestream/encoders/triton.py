"""An encoder served by NVIDIA Triton over gRPC. Knows the protocol, not the network behind it.

A batch travels as one request: a client that holds whole batches fills the server better than many single requests that
its dynamic batcher must gather.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Final, NoReturn

import grpc
import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from eyestream import records
from eyestream.encoders.base import EncoderSpec
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Digest, Pixels, Vectors
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

INPUT: Final = "pixels"
OUTPUT: Final = "embedding"
CANARY_TOLERANCE: Final = 0.02
"""Largest change of a number of the canary's embedding: FP16 engines move in the third decimal with batch size."""
STRANGERS: Final = 8
"""By how many the requests that met a server without the engine must outnumber the others before the worker asks what
is served instead, and ends: it stays with its engine while a fleet is exchanged, until most servers have the next."""
REPAIR_PAUSE_S: Final = 5.0
"""Between two attempts to reload a model: several workers see the same dead model process at once."""


class TritonEncoder:
    """Implements `Encoder`. Make it with `connect`, which reads the model's own description back from the server."""

    def __init__(self, client: InferenceServerClient, spec: EncoderSpec, *, timeout_s: float, may_reload: bool) -> None:
        self._client, self._spec, self._timeout_s, self._may_reload = client, spec, timeout_s, may_reload
        seeded = np.random.default_rng(0)
        self._canary = seeded.integers(0, 256, (1, *spec.shape), dtype=np.uint8)
        self._expected: Vectors | None = None
        self._repairing = asyncio.Lock()
        self._repaired = -REPAIR_PAUSE_S
        self._strangers = 0

    @classmethod
    async def connect(
        cls, address: str, model: str, *, timeout_s: float = 10.0, may_reload: bool = False
    ) -> TritonEncoder:
        """Ask the server for the model, run the canary once and keep its answer.

        `may_reload` lets the worker unload and load a model whose process died, for servers in explicit control mode.
        Raises Unavailable while the server or the model is not there yet, Misconfigured when the model is not an
        eyestream engine.
        """
        client = InferenceServerClient(address, channel_args=_CHANNEL)
        try:
            spec = await _describe(client, model, timeout_s=timeout_s)
            encoder = cls(client, spec, timeout_s=timeout_s, may_reload=may_reload)
            await encoder.check()
        except BaseException:
            await client.close()
            raise
        return encoder

    @property
    def spec(self) -> EncoderSpec:
        """The engine in service, as the server described it when we connected."""
        return self._spec

    async def encode(self, pixels: Pixels) -> Vectors:
        """Embeddings [n, dim] of pictures [n, height, width, 3]; one request, however many pictures.

        Every answer is of the engine that `spec` describes, whichever server gives it and whatever is exchanged
        meanwhile: the engine's number is part of the request. A server that has another one is passed over; once most
        have, Misconfigured is raised.
        """
        try:
            return await self._answer(pixels)
        except InferenceServerException as error:
            if self._strangers == STRANGERS:
                await self._require_ours()
            await self._repair(error)
            _translate(error)

    async def check(self) -> None:
        """Encode the canary and hold it against its first answer."""
        try:
            answer = await self._answer(self._canary)
        except InferenceServerException as error:
            await self._repair(error)
            _translate(error)
        if not np.isfinite(answer).all():
            raise Unavailable("triton", "the canary's embedding is not finite")
        if self._expected is None:
            self._expected = answer
        elif (drift := float(np.abs(answer - self._expected).max())) > CANARY_TOLERANCE:
            raise Unavailable("triton", f"the canary's embedding moved by {drift:.3f}: another engine answers")

    async def close(self) -> None:
        """Drop the connection."""
        await self._client.close()

    async def _answer(self, pixels: Pixels) -> Vectors:
        """Of the next server that has this engine: a request that is refused for want of it goes on to another one."""
        while True:
            try:
                embeddings = await self._infer(pixels)
            except InferenceServerException as error:
                if _NOT_SERVED in str(error):
                    self._strangers = min(self._strangers + 1, STRANGERS)
                    if self._strangers < STRANGERS:
                        continue
                raise
            self._strangers = max(self._strangers - 1, 0)
            return embeddings

    async def _infer(self, pixels: Pixels) -> Vectors:
        tensor = InferInput(INPUT, list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(pixels)
        result = await self._client.infer(
            self._spec.name,
            [tensor],
            model_version=_version(self._spec),
            outputs=[InferRequestedOutput(OUTPUT)],
            client_timeout=self._timeout_s,
        )
        embeddings = result.as_numpy(OUTPUT)
        if embeddings is None or embeddings.shape != (len(pixels), self._spec.dim):
            shape = None if embeddings is None else embeddings.shape
            raise ValueError(
                f"Triton answered {shape} to {len(pixels)} pictures; {self._spec.dim} numbers each expected"
            )
        return np.asarray(embeddings, np.float32)

    async def _require_ours(self) -> None:
        served = await _describe(self._client, self._spec.name, timeout_s=self._timeout_s)
        if _version(served) != _version(self._spec):
            raise Misconfigured(
                f"Triton now serves {self._spec.name} {served.digest[:12]}, and this worker was made for "
                f"{self._spec.digest[:12]}: it ends, and the next one needs banks that were built for the new engine."
            )

    async def _repair(self, error: InferenceServerException) -> None:
        """Load the model anew when its process died: Triton stays ready while every request fails."""
        if not self._may_reload or "stub process" not in str(error).lower():
            return
        async with self._repairing:
            loop = asyncio.get_running_loop()
            if loop.time() - self._repaired < REPAIR_PAUSE_S:
                return
            await asyncio.sleep(random.uniform(0, 0.3))  # noqa: S311  # spreads workers, guards nothing
            try:
                await self._infer(self._canary)
            except InferenceServerException:
                log.warning("loading %s anew", self._spec.name, extra={"action": Verb.RETRIED, "part": "triton"})
                try:
                    await self._client.unload_model(self._spec.name, client_timeout=self._timeout_s)
                    await self._client.load_model(self._spec.name, client_timeout=self._timeout_s)
                except InferenceServerException as failed:
                    log.warning("%s", failed.message(), extra={"action": Verb.FAILED, "part": "triton"})
            self._repaired = loop.time()


_CHANNEL: Final[list[tuple[str, Any]]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is tried again within a second, not after gRPC's own two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.lb_policy_name", "round_robin"),
]


_NOT_SERVED: Final = "Request for unknown model"
"""How Triton begins, whether it never had the version (NOT_FOUND) or has it no more (UNAVAILABLE, as for much else)."""


def version_of(digest: Digest, preprocessing: str) -> int:
    """The version of Triton's model that an engine is, by what results say of it (docs/decisions/0023).

    `preprocessing` as in EncoderSpec. Between 1 and 2^52: a number of JSON holds it exactly.
    """
    return 1 + int(records.digest("engine", digest, preprocessing)[:13], 16)


def _version(spec: EncoderSpec) -> str:
    return str(version_of(spec.digest, spec.preprocessing))


def _translate(error: InferenceServerException) -> NoReturn:
    """An INVALID_ARGUMENT is a fault of ours; whatever else the server says, waiting is right."""
    if str(error.status()) == str(grpc.StatusCode.INVALID_ARGUMENT):
        raise ValueError(f"Triton refused the request: {error.message()}") from error
    raise Unavailable("triton", error.message()) from error


async def _describe(client: InferenceServerClient, model: str, *, timeout_s: float) -> EncoderSpec:
    try:
        answer = await client.get_model_config(model, client_timeout=timeout_s, as_json=True)
    except InferenceServerException as error:
        raise Unavailable("triton", f"model {model!r}: {error.message()}") from error
    config: dict[str, Any] = answer["config"]
    try:
        shape = [int(size) for size in _tensor(config["input"], INPUT)["dims"]]
        (dim,) = (int(size) for size in _tensor(config["output"], OUTPUT)["dims"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        *frames, height, width, channels = shape
        (depth,) = frames or (None,)
        spec = EncoderSpec(
            name=model,
            digest=Digest(parameters["eyestream.digest"]),
            height=height,
            width=width,
            dim=dim,
            max_batch=int(config["max_batch_size"]),
            instances=sum(int(group.get("count", 1)) for group in config.get("instance_group", [])) or 1,
            preprocessing=parameters["eyestream.preprocessing"],
            frames=depth,
            channels=channels,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise Misconfigured(
            f"Triton's model {model!r} is not an eyestream engine ({error!r} in its configuration): "
            f"render it with eyestream-engines, which writes the tensors and parameters the worker reads."
        ) from error
    versions = config.get("version_policy", {}).get("specific", {}).get("versions")
    if versions != [_version(spec)]:
        raise Misconfigured(
            f"Triton's model {model!r} does not tell by its version which engine it is: an earlier eyestream "
            f"rendered it, or its config.pbtxt was changed by hand. Build it again with eyestream-engines."
        )
    return spec


def _tensor(tensors: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for tensor in tensors:
        if tensor["name"] == name:
            return tensor
    raise KeyError(name)
