"""The real parts for tests that need them: one stack a session, on its own ports, in a state folder of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from kafka.admin import KafkaAdminClient
from onnx import GraphProto

from eyestream.apps.drills.ground import Ground
from eyestream.apps.local import PARTS, Endpoints, Stack
from eyestream.encoders.triton import version_of
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Digest
from eyestream.testing.texts import FakeTextEncoder

ROOT = Path(__file__).parents[1]
STATES = ROOT / ".eyestream" / "tests"
"""Not pytest's temporary folder: what a killed run leaves running must be found by the next one."""

LAST_LINES = 30

# On a laptop every run looks somewhere else; in CI a change is judged by the same cases as the one before it.
hypothesis.settings.register_profile("laptop", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "laptop")  # noqa: TID251


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require", action="store_true", help="fail, do not skip, where the local stack cannot start (as with CI=true)"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what the stack it happened on has said last: its state folder goes with the tests."""
    report = yield
    used = getattr(item, "funcargs", {})
    stack = used["ground"].stack if "ground" in used else used.get("stack")
    if report.failed and isinstance(stack, Stack):
        for log in sorted(stack.log("kafka").parent.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            report.sections.append((f"end of {log.name}", "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
def required(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Fails, or skips outside CI and `make test`, and says why either way."""

    def missing(why: str) -> None:
        required = request.config.getoption("--require") or os.environ.get("CI") == "true"  # noqa: TID251
        (pytest.fail if required else pytest.skip)(why)

    return missing


@pytest.fixture(scope="session")
def model_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` (pixels UINT8 [n,8,8,3] to the mean of each colour, FP16) and `picky` beside the project's own models.

    `picky` (index UINT8 [n,1] to its square, FP16) fails where an index is 10 or more.
    """
    repository = tmp_path_factory.mktemp("model_repository")
    write_tiny_model(repository / "tiny")
    write_picky_model(repository / "picky")
    for model in (ROOT / "model_repository").glob("*/config.pbtxt"):
        shutil.copytree(model.parent, repository / model.parent.name)
    return repository


@pytest.fixture(scope="session")
def stack(required: Callable[[str], None], model_repository: Path) -> Iterator[Stack]:
    """Kafka, Redis and Triton, running. A test that harms a part mends it: the stack is shared."""
    end_leftovers()
    with owned_state() as state, Stack(state, model_repository=model_repository) as stack:
        try:
            stack.up()
        except (Misconfigured, Unavailable) as error:
            required(f"NO LOCAL STACK, SO NOTHING OF IT IS TESTED: {error}")
        yield stack


@pytest.fixture(scope="module")
def ground(required: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A stack of the module's own, to be broken, with workers that start when they are needed and the `trial` model."""
    repository = tmp_path_factory.mktemp("trial")
    write_trial_model(repository / "trial")
    end_leftovers()
    with owned_state() as state:
        ground = Ground(state, model_repository=repository, model="trial", text_tower=FakeTextEncoder(TRIAL_DIM))
        try:
            ground.up()
        except (Misconfigured, Unavailable) as error:
            required(f"NO LOCAL STACK, SO NOTHING OF IT IS TESTED: {error}")
        yield ground
        ground.down()


@pytest.fixture(scope="session")
def write_trial() -> Callable[..., None]:
    """Writes the `trial` model into a folder, as the engine of a digest."""
    return write_trial_model


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """A state folder for a stack of the module's own; whoever starts one in it ends it."""
    end_leftovers()
    with owned_state() as state:
        yield state


@pytest.fixture(scope="session")
def endpoints(stack: Stack) -> Endpoints:
    return stack.endpoints


@pytest.fixture(scope="session")
def kafka_bootstrap(endpoints: Endpoints) -> str:
    """host:port of the broker."""
    return endpoints.kafka


@pytest.fixture(scope="session")
def redis_url(endpoints: Endpoints) -> str:
    """Shared by the session: use keys of your own, and no FLUSHALL."""
    return endpoints.redis_url


@pytest.fixture(scope="session")
def triton_url(endpoints: Endpoints) -> str:
    """host:port of Triton's gRPC."""
    return endpoints.triton_grpc


@pytest.fixture
def topic(kafka_bootstrap: str) -> Iterator[str]:
    """A topic of this test alone with four partitions, and `<topic>.dlq` with one; both are gone afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    with kafka_admin(kafka_bootstrap) as admin:
        admin.create_topics(
            {
                name: {"num_partitions": 4, "replication_factor": 1},
                f"{name}.dlq": {"num_partitions": 1, "replication_factor": 1},
            },
            wait_for_metadata=True,
        )
    yield name
    with kafka_admin(kafka_bootstrap) as admin:
        admin.delete_topics([name, f"{name}.dlq"])


@contextlib.contextmanager
def kafka_admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    """Opened anew where it is used: a client that has seen its broker killed waits long before it asks again."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        yield admin
    finally:
        admin.close()


@contextlib.contextmanager
def owned_state() -> Iterator[Path]:
    """A state folder that counts as abandoned once this process is gone, however it went."""
    state = STATES / secrets.token_hex(4)
    state.mkdir(parents=True)
    with (state / "owner.lock").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield state
        shutil.rmtree(state)


def end_leftovers() -> None:
    """End what runs of this checkout left that were killed; those still going hold their lock."""
    for lock in STATES.glob("*/owner.lock"):
        with lock.open("a") as owner, contextlib.suppress(BlockingIOError):
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Stack(lock.parent, model_repository=ROOT / "model_repository", parts=PARTS).down()
            shutil.rmtree(lock.parent, ignore_errors=True)


def write_tiny_model(folder: Path) -> None:
    """A model small enough to write here, whose answer a test can compute itself."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["values", "axes"], ["mean"], keepdims=0),
            helper.make_node("Cast", ["mean"], ["embedding"], to=TensorProto.FLOAT16),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT16, ["n", 3])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    save_model(folder, graph, TINY)


def write_picky_model(folder: Path) -> None:
    """A model that a request can make fail while it runs."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["index"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["squares", "place"], ["square"]),
        ],
        "picky",
        [helper.make_tensor_value_info("index", TensorProto.UINT8, ["n", 1])],
        [helper.make_tensor_value_info("square", TensorProto.FLOAT16, ["n", 1])],
        [helper.make_tensor("squares", TensorProto.FLOAT16, [10], [float(n * n) for n in range(10)])],
    )
    save_model(folder, graph, PICKY)


def write_trial_model(folder: Path, digest: str = "ab" * 32) -> None:
    """An encoder as the line wants one, of 96 pixels a side and chance weights: alike pictures, alike embeddings.

    Another digest has other weights. Whatever lay in the folder is gone.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(int(digest, 16)).standard_normal((192, 64)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["values"], ["channels"], perm=[0, 3, 1, 2]),
            helper.make_node("AveragePool", ["channels"], ["cells"], kernel_shape=[12, 12], strides=[12, 12]),
            helper.make_node("Flatten", ["cells"], ["flat"]),
            helper.make_node("Sub", ["flat", "grey"], ["contrast"]),
            helper.make_node("MatMul", ["contrast", "weights"], ["vector"]),
            helper.make_node("LpNormalization", ["vector"], ["unit"], axis=1, p=2),
            helper.make_node("Cast", ["unit"], ["embedding"], to=TensorProto.FLOAT16),
        ],
        "trial",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 96, 96, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT16, ["n", 64])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.float32(70), "grey")],
    )
    version = version_of(Digest(digest), TRIAL_PREPROCESSING)
    shutil.rmtree(folder, ignore_errors=True)
    config = TRIAL % (version, digest, json.dumps(TRIAL_PREPROCESSING))
    save_model(folder, graph, config, version=version)


def save_model(folder: Path, graph: GraphProto, config: str, *, version: int = 1) -> None:
    import onnx
    from onnx import helper

    place = folder / str(version)
    place.mkdir(parents=True)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), place / "model.onnx")
    (folder / "config.pbtxt").write_text(config)


TINY = """\
name: "tiny"
backend: "onnxruntime"
max_batch_size: 8
input [{ name: "pixels" data_type: TYPE_UINT8 dims: [8, 8, 3] }]
output [{ name: "embedding" data_type: TYPE_FP16 dims: [3] }]
instance_group [{ kind: KIND_CPU count: 2 }]
dynamic_batching { max_queue_delay_microseconds: 1000 }
"""

PICKY = """\
name: "picky"
backend: "onnxruntime"
max_batch_size: 8
input [{ name: "index" data_type: TYPE_UINT8 dims: [1] }]
output [{ name: "square" data_type: TYPE_FP16 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
dynamic_batching { preferred_batch_size: [8] max_queue_delay_microseconds: 300000 }
"""
"""It waits long enough for a test's requests to be merged into one run."""

TRIAL = """\
name: "trial"
backend: "onnxruntime"
version_policy: { specific: { versions: [%d] } }
max_batch_size: 8
input [{ name: "pixels" data_type: TYPE_UINT8 dims: [96, 96, 3] }]
output [{ name: "embedding" data_type: TYPE_FP16 dims: [64] }]
instance_group [{ kind: KIND_CPU count: 2 }]
parameters: {
  key: "eyestream.digest"
  value: { string_value: "%s" }
}
parameters: {
  key: "eyestream.preprocessing"
  value: { string_value: %s }
}
"""
"""What the worker reads of an engine."""
TRIAL_PREPROCESSING = '{"crop":"field-of-view","shape":"pad-square"}'
TRIAL_DIM = 64
"""The length of its embeddings, which its text tower's must have."""
