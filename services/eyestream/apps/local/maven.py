"""Jars of Maven Central, each held against the hash that it was tested with. Knows no program made of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from eyestream.errors import Misconfigured


def fetch(coordinates: Iterable[str], folder: Path, *, lock: str, program: str) -> None:
    """Put the jars of `lock` (lines of sha256 and file name) into `folder`, out of what the coordinates depend on.

    `program` is what they make, for a person. Raises Misconfigured where one cannot be had or is another.
    """
    try:
        import jgo
        from jgo.maven import PythonResolver
    except ImportError:
        raise Misconfigured(f"{program}'s jars are fetched with jgo: install eyestream[local]") from None
    expected = {name: digest for digest, name in (line.split() for line in lock.splitlines())}
    scratch = folder / "jgo"
    for coordinate in coordinates:
        try:
            environment = jgo.build(coordinate, cache_dir=scratch, resolver=PythonResolver())
        except Exception as error:  # jgo raises what its many parts do
            raise Misconfigured(
                f"{coordinate} could not be fetched from Maven Central ({error}); is the machine online?"
            ) from error
        for jar in Path(environment.path).rglob("*.jar"):
            if jar.name in expected:
                shutil.copyfile(jar, folder / jar.name)
    shutil.rmtree(scratch)
    for name, digest in expected.items():
        jar = folder / name
        if not jar.exists() or hashlib.sha256(jar.read_bytes()).hexdigest() != digest:
            raise Misconfigured(
                f"{name} is not the one that {program} was tested with; "
                f"remove it from ~/.m2/repository and try again, or ask your mirror's keeper"
            )
