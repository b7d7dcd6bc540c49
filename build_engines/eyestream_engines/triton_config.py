"""config.pbtxt, rendered through Triton's own protobuf so that a misspelt field cannot be written. Knows no network."""

from __future__ import annotations

from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2 as pb

from eyestream.encoders.triton import INPUT, OUTPUT, version_of
from eyestream.records import Digest
from eyestream_engines.spec import EncoderFile


def config(
    encoder: EncoderFile, digest: Digest, *, name: str | None = None, backend: str = "onnxruntime"
) -> pb.ModelConfig:
    """What Triton must know to serve the engine of the checkpoint with that digest as the model `name`."""
    serving, told = encoder.serving, encoder.input
    dims = [*(() if told.frames is None else (told.frames,)), told.height, told.width, told.channels]
    parameters = {
        "eyestream.name": _value(encoder.name),
        "eyestream.digest": _value(digest),
        "eyestream.preprocessing": _value(encoder.preprocessing.to_json()),
    }
    if backend == "onnxruntime":
        parameters["intra_op_thread_count"] = _value(str(serving.intra_op_threads))
    return pb.ModelConfig(
        name=name or encoder.name,
        backend=backend,
        max_batch_size=serving.max_batch,
        input=[pb.ModelInput(name=INPUT, data_type=pb.TYPE_UINT8, dims=dims)],
        output=[pb.ModelOutput(name=OUTPUT, data_type=pb.TYPE_FP16, dims=[encoder.output.dim])],
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_AUTO, count=serving.instances)],
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=serving.preferred_batches,
            max_queue_delay_microseconds=serving.queue_delay_us,
        ),
        model_warmup=_warmup(dims, sizes=(1, serving.max_batch) if backend == "tensorrt" else ()),
        version_policy=pb.ModelVersionPolicy(
            specific=pb.ModelVersionPolicy.Specific(versions=[int(version(encoder, digest))])
        ),
        parameters=parameters,
    )


def version(encoder: EncoderFile, digest: Digest) -> str:
    """The name of the folder, inside the model's, that Triton looks for the engine of that digest in."""
    return str(version_of(digest, encoder.preprocessing.to_json()))


def render(encoder: EncoderFile, digest: Digest, *, name: str | None = None, backend: str = "onnxruntime") -> str:
    """The text of config.pbtxt; the same arguments always give the same text."""
    return str(text_format.MessageToString(config(encoder, digest, name=name, backend=backend)))


def _warmup(dims: list[int], *, sizes: tuple[int, ...]) -> list[pb.ModelWarmup]:
    """A GPU loads its kernels at the first request of a size; a processor would only start later."""
    return [
        pb.ModelWarmup(
            name=f"batch-{size}",
            batch_size=size,
            inputs={INPUT: pb.ModelWarmup.Input(data_type=pb.TYPE_UINT8, dims=dims, random_data=True)},
        )
        for size in sizes
    ]


def _value(text: str) -> pb.ModelParameter:
    return pb.ModelParameter(string_value=text)
