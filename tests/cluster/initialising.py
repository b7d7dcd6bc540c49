"""Plays the kubelets for pods whose init containers are the point: they run here, and only then is a pod ready.

kwok says at once that a pod runs; it leaves alone what is annotated with CUSTOM. In place of images stand this machine
and the folder `programs`; in place of the paths of mounts, folders of this machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import httpx
from controlplane.played import Played
from sites import Object, Site, wait_until

CUSTOM = {"kwok.x-k8s.io/status": "custom"}
_AGAIN_S = 0.5
"""A kubelet starts a failed init container again, ever more slowly; a test does not wait so long."""


class Initialising:
    """Runs the init containers of a site's Triton pods; a context manager that ends by taking the release away."""

    def __init__(
        self, site: Site, state: Path, *, claims: Mapping[str, Path], programs: Path, variables: Mapping[str, str]
    ) -> None:
        self._site, self._state, self._claims = site, state, claims
        self._variables = {"PATH": f"{programs}:{os.defpath}", **variables}
        self._pods: dict[str, threading.Thread] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._gone: set[str] = set()
        self._halted = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody else would end its pods."""
        try:
            self._site.helm("uninstall", "eyes", "--ignore-not-found")
            wait_until(lambda: not self._all(), "its pods are gone", within_s=120)
        finally:
            self._halted.set()
            self._thread.join()
            for uid in list(self._running):
                self._kill(uid)
            for thread in self._pods.values():
                thread.join()

    def said(self, pod: Object) -> str:
        """What the init containers of a pod have said so far."""
        file = self._log(pod)
        return file.read_text() if file.exists() else ""

    def lose(self, pod: Object) -> None:
        """Its machine loses power: its processes end without a word, and nobody starts them again."""
        self._gone.add(pod["metadata"]["uid"])
        self._kill(pod["metadata"]["uid"])

    def _kill(self, uid: str) -> None:
        if (process := self._running.get(uid)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _log(self, pod: Object) -> Path:
        return self._state / f"{pod['metadata']['name']}.log"

    def _all(self) -> list[Object]:
        return list(self._site.plane.api.pods(self._site.name, "app.kubernetes.io/component=triton"))

    def _watch(self) -> None:
        while not self._halted.wait(0.1):
            try:
                for pod in self._all():
                    self._see(pod)
            except httpx.HTTPError as error:
                self.faults.append(str(error))

    def _see(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if "deletionTimestamp" in pod["metadata"]:
            if uid not in self._gone and (process := self._running.get(uid)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
            self._gone.add(uid)
            if uid not in self._pods or not self._pods[uid].is_alive():
                self._site.plane.api.delete(self._path(pod), gracePeriodSeconds="0")
        elif uid not in self._pods and pod["spec"].get("nodeName"):
            self._pods[uid] = threading.Thread(target=self._start, args=[pod], daemon=True)
            self._pods[uid].start()

    def _path(self, pod: Object) -> str:
        return f"{self._site.path}/pods/{pod['metadata']['name']}"

    def _start(self, pod: Object) -> None:
        try:
            for container in pod["spec"]["initContainers"]:
                while self._run(pod, container):
                    if pod["metadata"]["uid"] in self._gone or self._halted.wait(_AGAIN_S):
                        return
            self._site.plane.api.merge(f"{self._path(pod)}/status", {"status": _running(pod)})
        except (httpx.HTTPError, OSError) as error:
            self.faults.append(f"{pod['metadata']['name']}: {error}")

    def _run(self, pod: Object, container: Object) -> int:
        """The exit status of one init container."""
        uid = pod["metadata"]["uid"]
        alone = {**pod, "spec": {**pod["spec"], "containers": [container]}}
        played = Played.read(self._site.plane.api, alone, self._claims)
        folders = dict(self._folders(played, self._state / uid))
        command = [_here(word, folders) for word in played.argv]
        variables = {name: _here(value, folders) for name, value in played.environment.items()} | self._variables
        with self._log(pod).open("ab") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)
            self._running[uid] = process
            code = process.wait()
            del self._running[uid]
        return code

    @staticmethod
    def _folders(played: Played, state: Path) -> Iterator[tuple[str, Path]]:
        """Where each mount of the pod is on this machine."""
        for at in played.empty:
            folder = state / at.strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            yield at, folder
        for path, content in played.files.items():
            if isinstance(content, Path):
                yield path, content
            else:
                file = state / path.strip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                yield path, file


def _here(text: str, folders: Mapping[str, Path]) -> str:
    """All paths at once: what stands in for one may begin like another."""
    paths = "|".join(re.escape(at) for at in sorted(folders, key=len, reverse=True))
    return re.sub(rf"(?<![\w/.-])({paths})(?=/|$)", lambda found: str(folders[found[1]]), text)


def _running(pod: Object) -> Object:
    conditions = [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady", "Ready")]
    placed = [one for one in pod["status"]["conditions"] if one["type"] == "PodScheduled"]
    return {"phase": "Running", "podIP": "10.0.0.1", "conditions": [*placed, *conditions]}
