"""Triton as a part of the local stack: tritonserver from a wheel, on the processor, in an environment of its own.

It loads the very repository that production loads. Knows models by their folders, and nothing of eyes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import psutil

from eyestream.apps.local import cache
from eyestream.apps.local.base import Command, Part, Place
from eyestream.apps.local.preflight import find_libpython
from eyestream.errors import Misconfigured, Unavailable

_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_LOCKS: Final = ("triton.txt", "tritonserver.txt")
_LEAST_S: Final = 5.0
_BYTES_A_SECOND: Final = 5e6
_SERVED: Final = ("onnxruntime", "python")
"""The backends there are: a TensorRT plan in the repository is left alone, it needs its GPU."""


class Triton(Part):
    """One server with every model of the repository that runs without a GPU, each loaded by name."""

    name = "triton"
    ports: Sequence[str] = ("triton-grpc", "triton-http", "triton-metrics")
    ready_within_s = 300.0
    stops_within_s = 10.0

    def __init__(self, model_repository: Path) -> None:
        self._repository = model_repository.resolve()

    def endpoints(self, ports: Mapping[str, int]) -> Mapping[str, str]:
        """gRPC, HTTP and metrics."""
        return {
            "triton_grpc": f"127.0.0.1:{ports['triton-grpc']}",
            "triton_http": f"127.0.0.1:{ports['triton-http']}",
            "triton_metrics": f"http://127.0.0.1:{ports['triton-metrics']}/metrics",
        }

    def prepare(self, place: Place) -> None:
        """Install Triton's environment (once per user) and lay out its backends."""
        largest = max(patience_s(self._repository / model) for model in models(self._repository))
        self.ready_within_s = Triton.ready_within_s + 2 * largest
        server = _server(self._environment(place))
        backends = place.runtime / "backends"
        shutil.rmtree(backends, ignore_errors=True)
        (backends / "onnxruntime").mkdir(parents=True)
        # A link, not a copy: the backend finds its libraries relative to the place it was installed in.
        (backends / "python").symlink_to(server.parents[1] / "backends" / "python")
        ours = resources.files(__package__).joinpath("onnxruntime_backend/model.py").read_text()
        (backends / "onnxruntime" / "model.py").write_text(ours)

    def sweep(self, place: Place) -> None:
        """Remove the shared memory that a killed server leaves."""
        for region in Path("/dev/shm").glob(f"{_shm_prefix(place)}*"):  # noqa: S108 - where the kernel keeps them
            region.unlink(missing_ok=True)

    def command(self, place: Place) -> Command:
        """The server; the repository's files are the inputs."""
        environment = self._environment(place)
        ports = place.ports
        argv = [
            str(_server(environment)),
            f"--model-repository={self._repository}",
            f"--backend-directory={place.runtime / 'backends'}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in models(self._repository)),
            "--disable-auto-complete-config",
            "--exit-timeout-secs=5",
            *(f"--backend-config={backend},shm-region-prefix-name={_shm_prefix(place)}" for backend in _SERVED),
            "--grpc-address=127.0.0.1",
            f"--grpc-port={ports['triton-grpc']}",
            "--http-address=127.0.0.1",
            f"--http-port={ports['triton-http']}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={ports['triton-metrics']}",
            "--allow-gpu-metrics=false",
            "--pinned-memory-pool-byte-size=0",
        ]
        # The stub embeds an interpreter, which finds its packages through the first python3 on PATH.
        path = f"{environment / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        return Command(argv, {"PATH": path, "PYTHONPATH": "", "PYTHONHOME": ""}, inputs=_listing(self._repository))

    def ready(self, place: Place) -> None:
        """One inference on every model."""
        for model in models(self._repository):
            address = f"127.0.0.1:{place.ports['triton-grpc']}"
            infer_once(address, model, within_s=patience_s(self._repository / model))

    def environment_name(self) -> str:
        """The cache entry that this version's environment is installed in."""
        digest = hashlib.sha256(b"".join(_lock(name).read_bytes() for name in _LOCKS)).hexdigest()[:12]
        return f"triton-{digest}-python{_PYTHON}"

    def _environment(self, place: Place) -> Path:
        def install(folder: Path) -> None:
            _install(folder, place.say)

        return cache.entry(place.cache, self.environment_name(), install, say=place.say)


def models(repository: Path) -> list[str]:
    """The models of a repository that run without a GPU, by name. Raises Misconfigured when there is none."""
    found = []
    for config in sorted(repository.glob("*/config.pbtxt")):
        backend = re.search(r'^\s*backend\s*:\s*"(\w+)"', config.read_text(), re.MULTILINE)
        if backend and backend.group(1) in _SERVED:
            found.append(config.parent.name)
    if not found:
        raise Misconfigured(
            f"{repository} holds no model for the processor (a folder with config.pbtxt saying "
            f'`backend: "onnxruntime"` and VERSION/model.onnx); build one or name another with --model-repository'
        )
    return found


def patience_s(model: Path) -> float:
    """How long one picture may take the model on a busy processor: by the size of its weights, which is the work."""
    size = sum(file.stat().st_size for file in model.glob("*/*") if file.is_file())
    return _LEAST_S + size / _BYTES_A_SECOND


def infer_once(grpc: str, model: str, *, within_s: float = _LEAST_S) -> None:
    """Run one inference on zeros of the model's own shape. Raises Unavailable when Triton or the model fails it.

    The only truthful health check: readiness stays true when a model's process is gone.
    """
    import numpy as np
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException, triton_to_np_dtype

    with triton.InferenceServerClient(grpc) as client:
        try:
            config = client.get_model_config(model, client_timeout=within_s).config
            leading = [1] if config.max_batch_size > 0 else []
            inputs = []
            for entry in config.input:
                kind = str(
                    entry.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[entry.data_type].name
                )
                datatype = kind.removeprefix("TYPE_")
                shape = leading + [max(1, size) for size in entry.dims]
                tensor = triton.InferInput(entry.name, shape, datatype)
                tensor.set_data_from_numpy(np.zeros(shape, triton_to_np_dtype(datatype)))
                inputs.append(tensor)
            client.infer(model, inputs, client_timeout=within_s)
        except InferenceServerException as error:
            raise Unavailable("triton", f"{model}: {error.message()}") from error


def reload(grpc: str, model: str, *, within_s: float = 60.0) -> None:
    """Unload and load a model: what mends it when its process was killed. Raises Unavailable when that fails.

    Requests that arrive between the two are refused.
    """
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    with triton.InferenceServerClient(grpc) as client:
        try:
            client.unload_model(model, client_timeout=within_s)
            client.load_model(model, client_timeout=within_s)
        except InferenceServerException as error:
            raise Unavailable("triton", f"{model}: {error.message()}") from error


def stubs(pids: Iterable[int], model: str) -> tuple[int, ...]:
    """Those of these processes that serve `model`, one for each of its instances."""
    found = []
    for pid in pids:
        try:
            argv = psutil.Process(pid).cmdline()
        except psutil.Error:
            continue
        if len(argv) > 1 and "triton_python_backend_stub" in argv[0] and f"/{model}/" in argv[1]:
            found.append(pid)
    return tuple(found)


def _lock(name: str) -> Path:
    """A lock of the project, linked into the package so that an installed eyestream has it too."""
    return Path(str(resources.files(__package__).joinpath("locks", name)))


def _install(folder: Path, say: Callable[[str], None]) -> None:
    say("installing tritonserver and ONNX Runtime in an environment of their own (90 MB)")
    uv = _find_uv()
    _run([uv, "venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", sys.executable, str(folder)])
    python = str(folder / "bin" / "python")
    # `sync` installs what the locks list and nothing else, so pytriton's own dependencies stay out.
    command = [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", "--compile-bytecode"]
    _run([*command, *(str(_lock(name)) for name in _LOCKS)])
    backend = _server(folder).parents[1] / "backends" / "python"
    stub = backend.parents[1] / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
    if not stub.exists():
        raise Misconfigured(f"this Triton has no stub for Python {_PYTHON}; use Python 3.11 or 3.12")
    shutil.copy(stub, backend / stub.name)
    (backend / stub.name).chmod(0o755)
    library = find_libpython()
    if library is None:
        raise Misconfigured(
            "Python's shared library was not found; `python3 -m eyestream.apps.local.preflight` says more"
        )
    libraries = next(backend.parents[3].glob("nvidia_pytriton.libs"))
    (libraries / str(sysconfig.get_config_var("INSTSONAME"))).symlink_to(library)


def _server(environment: Path) -> Path:
    return environment / "lib" / f"python{_PYTHON}" / "site-packages/pytriton/tritonserver/bin/tritonserver"


def _find_uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise Misconfigured("uv is missing, which installs Triton's environment: `pip install uv`, or `make setup`")
    return found


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Misconfigured(
            f"Triton's environment could not be installed ({' '.join(command[:3])}):\n{done.stderr.strip()}\n"
            "is the machine online, and is there room on the disk?"
        )


def _shm_prefix(place: Place) -> str:
    return f"eyestream-{hashlib.sha256(str(place.runtime).encode()).hexdigest()[:10]}-"


def _listing(repository: Path) -> str:
    """Changes when a file of the repository does."""
    facts: list[Any] = []
    for file in sorted(path for path in repository.rglob("*") if path.is_file()):
        status = file.stat()
        facts.append((str(file.relative_to(repository)), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(facts).encode()).hexdigest()
