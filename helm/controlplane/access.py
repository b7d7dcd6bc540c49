"""How programs and tests speak to the API server: kubeconfigs and a small client. Knows no process."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from chartkit import tools

from controlplane.authority import Authority, Pair
from eyestream.apps.local.base import write_text

Object = dict[str, Any]

ADMINISTRATORS: Final = ("system:masters",)
_COMMAND_S: Final = 300.0
_ANSWER_S: Final = 120.0
"""A server whose pages a full machine has dropped answers after half a minute."""


class Failed(Exception):
    """A command of helm or kubectl ended with an error; the message is all that it said."""


def run(command: Sequence[str], given: str | None = None) -> str:
    """What the command printed. Raises Failed."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=_COMMAND_S)
    if done.returncode:
        raise Failed(done.stderr + done.stdout)
    return done.stdout + done.stderr


def kubectl(config: Path, *arguments: str, given: str | None = None) -> str:
    """What kubectl printed, let in by that kubeconfig. Raises Failed."""
    own = ["--kubeconfig", str(config), "--cache-dir", str(config.parent / "kubectl")]
    return run([str(tools.kubectl()), *own, *arguments], given)


def kubeconfig(folder: Path, authority: Authority, pair: Pair, *, port: int) -> Path:
    """The file that lets a program in as the pair's name."""
    path = folder / f"{pair.certificate.stem.replace(':', '-')}.kubeconfig"
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority.certificate)}
    user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "here", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        }
    )
    write_text(path, text + "\n")
    return path


def trust(authority: Authority, pair: Pair) -> ssl.SSLContext:
    """Believes the authority's servers, and shows them the pair."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(str(pair.certificate), str(pair.key))
    return context


class Api:
    """Plain requests to the API server; each raises httpx.HTTPStatusError with the server's message."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._client = httpx.Client(base_url=url, verify=context, timeout=_ANSWER_S, trust_env=False)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def get(self, path: str, **query: str) -> Object:
        """One object, or a list."""
        return _answer(self._client.get(path, params=query))

    def exists(self, path: str) -> bool:
        """Whether an object is there."""
        return self._client.get(path).status_code == httpx.codes.OK

    def check(self, path: str) -> None:
        """Nothing, where the answer is good; for /readyz and the like."""
        answer = self._client.get(path)
        if answer.is_error:
            raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)

    def items(self, path: str, **query: str) -> list[Object]:
        """The objects of a list."""
        found: list[Object] = self.get(path, **query)["items"]
        return found

    def create(self, path: str, body: Object, **query: str) -> Object:
        """A new object, or a sub-resource such as an eviction."""
        return _answer(self._client.post(path, json=body, params=query))

    def merge(self, path: str, body: Object) -> Object:
        """A merge patch."""
        return _answer(self._client.patch(path, json=body, headers={"content-type": "application/merge-patch+json"}))

    def delete(self, path: str, **query: str) -> None:
        """Gone, or never there."""
        answer = self._client.delete(path, params=query)
        if answer.status_code != httpx.codes.NOT_FOUND:
            _answer(answer)

    def pods(self, namespace: str, selector: str) -> Iterator[Object]:
        """Pods by labels, those that are going included."""
        yield from self.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)


def _answer(answer: httpx.Response) -> Object:
    if answer.is_error:
        raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
    found: Object = answer.json()
    return found


def ready(pod: Object) -> bool:
    """Whether a pod serves: ready, and not on its way out."""
    conditions = pod.get("status", {}).get("conditions", [])
    here = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return here and "deletionTimestamp" not in pod["metadata"]
