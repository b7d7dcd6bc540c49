"""config.pbtxt, rendered through Triton's own protobuf so that a misspelt field cannot be written. Knows no network."""

from __future__ import annotations

from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2 as pb

from eyestream.encoders.triton import INPUT, OUTPUT
from eyestream.records import Digest
from eyestream_engines.spec import EncoderFile


def config(encoder: EncoderFile, digest: Digest) -> pb.ModelConfig:
    """What Triton must know to serve the encoder's ONNX graph whose checkpoint has that digest."""
    serving = encoder.serving
    return pb.ModelConfig(
        name=encoder.name,
        backend="onnxruntime",
        max_batch_size=serving.max_batch,
        input=[pb.ModelInput(name=INPUT, data_type=pb.TYPE_UINT8, dims=[encoder.input.height, encoder.input.width, 3])],
        output=[pb.ModelOutput(name=OUTPUT, data_type=pb.TYPE_FP16, dims=[encoder.output.dim])],
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_AUTO, count=serving.instances)],
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=serving.preferred_batches,
            max_queue_delay_microseconds=serving.queue_delay_us,
        ),
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        parameters={
            "eyestream.name": _value(encoder.name),
            "eyestream.digest": _value(digest),
            "eyestream.preprocessing": _value(encoder.preprocessing.to_json()),
            "intra_op_thread_count": _value(str(serving.intra_op_threads)),
        },
    )


def render(encoder: EncoderFile, digest: Digest) -> str:
    """The text of config.pbtxt; the same encoder and digest always give the same text."""
    return str(text_format.MessageToString(config(encoder, digest)))


def _value(text: str) -> pb.ModelParameter:
    return pb.ModelParameter(string_value=text)
