"""A published checkpoint from the model hub to a folder: looked at first, resumed, its hash checked. Knows no weights.

The hub's own library speaks to the hub and to its mirrors (HF_ENDPOINT, HF_TOKEN, `hf auth login`). It throws away what
it has of a file when it is ended; a part file of ours is kept, so that gigabytes over a thin line are fetched once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Digest
from eyestream_engines import files
from eyestream_engines.spec import EncoderFile, Published

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Offer:
    """A file as the hub offers it.

    `size` in bytes; `licence` as its page says, empty where it says nothing; `sha256` only where the hub tells one.
    """

    repository: str
    commit: str
    file: str
    size: int
    licence: str
    sha256: str | None
    etag: str
    url: str
    headers: Mapping[str, str]


def look(encoder: EncoderFile, file: str | None = None) -> Offer:
    """What the hub has of the encoder, before a byte of it is fetched; the first of its files unless one is named.

    Raises Misconfigured where the file is not on the hub, must be asked for first, or is not the one whose sha256 was
    published; Unavailable where there is no way to the hub.
    """
    published, repository, file = _published(encoder, file)
    try:
        from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers
    except ValueError as error:  # raised while it is imported, where it reads its address
        raise Misconfigured(f"HF_ENDPOINT is no address ({error}): write https://HOST or https://HOST:PORT") from None

    headers = build_hf_headers(library_name="eyestream-engines")
    with _faults(repository, file):
        card = HfApi().model_info(repository)
        told = get_hf_file_metadata(hf_hub_url(repository, file, revision=card.sha), headers=headers)
    if told.size is None or not told.etag or not told.commit_hash:
        raise Unavailable("the model hub", f"{_endpoint()} does not tell the length and tag of {file}: is it a hub?")
    sha256 = told.etag if _SHA256.fullmatch(told.etag) else None
    if sha256 is not None and published.sha256 and sha256 not in published.sha256:
        raise Misconfigured(
            f"{repository} has {file} with sha256 {sha256}, and {encoder.name} was published with "
            f"{' or '.join(published.sha256)}: it was replaced since. Nothing was fetched; look at its page first"
        )
    licence = (card.card_data or {}).get("license") or ""
    if not _same_host(told.location):
        headers.pop("authorization", None)  # a token is for the hub, not for whoever stores its files
    return Offer(repository, told.commit_hash, file, told.size, str(licence), sha256, told.etag, told.location, headers)


def fetch(encoder: EncoderFile, offer: Offer, folder: Path, told: Callable[[int, int], None]) -> tuple[Path, Digest]:
    """Bring the file into the folder; returns its path and sha256. Goes on where an earlier run was ended.

    `told` hears how many bytes were hashed, of how many. A file that is there already is only checked. Raises
    Misconfigured when the bytes are not those announced (then nothing is left of them), or another file has the name;
    Unavailable when the line breaks for good or the disk is full (then what came is kept for the next run).
    """
    final = folder / Path(offer.file).name
    accepted = {offer.sha256} if offer.sha256 else set(encoder.published.sha256 if encoder.published else ())
    if final.exists():
        digest = files.digest(final, told)
        if final.stat().st_size == offer.size and (not accepted or digest in accepted):
            return final, digest
        raise Misconfigured(f"{final} is there, and is not the file that {offer.repository} has: move it away first")
    part = folder / f".{final.name}.{re.sub('[^0-9A-Za-z]', '', offer.etag)[:16]}.part"
    with _disk(folder), _held(part):
        _download(offer, part)
        digest = files.digest(part, told)
        if accepted and digest not in accepted:
            part.unlink()
            raise Misconfigured(
                f"what came of {offer.file} has sha256 {digest}, and {' or '.join(sorted(accepted))} was announced: "
                f"it was damaged or exchanged on its way, and is removed. Fetch it again"
            )
        part.rename(final)
    return final, digest


def _download(offer: Offer, part: Path) -> None:
    from huggingface_hub.file_download import http_get

    with part.open("ab") as file, _faults(offer.repository, offer.file):
        if file.tell() > offer.size:
            file.truncate(0)
        have = file.seek(0, os.SEEK_END)
        if shutil.disk_usage(part.parent).free < offer.size - have:
            raise OSError(errno.ENOSPC, "not enough room")
        http_get(
            offer.url,
            file,
            resume_size=have,
            headers=dict(offer.headers),
            expected_size=offer.size,
            displayed_filename=offer.file,
        )
        file.flush()
        os.fsync(file.fileno())


def _published(encoder: EncoderFile, file: str | None) -> tuple[Published, str, str]:
    """What is known of the file, its repository, and its name there."""
    published = encoder.published
    if encoder.checkpoint.file is not None:
        raise Misconfigured(f"the weights of {encoder.name} lie here already: `eyestream-engines build {encoder.name}`")
    if published is None:
        raise Misconfigured(f"nothing is published of {encoder.name}: its weights can only come from its authors")
    if not published.files:
        raise Misconfigured(f"there is no file of {encoder.name} to fetch: {published.where}")
    if published.hub is None and "*" in published.files[0]:
        raise Misconfigured(
            f"the weights of {encoder.name} are several files: fetch {published.files[0]} by hand ({published.where}), "
            f"and make one file of their folder: `eyestream-engines gather {encoder.name} FOLDER --output FILE`"
        )
    if published.hub is None:
        raise Misconfigured(
            f"the weights of {encoder.name} are not one file on the model hub: fetch {published.files[0]} by hand "
            f"({published.where}), and give it to `eyestream-engines build {encoder.name} --checkpoint FILE`"
        )
    if file is not None and file not in published.files:
        raise Misconfigured(f"{encoder.name} has no file {file!r}; it has: {', '.join(published.files)}")
    chosen = file or published.files[0]
    return published, published.hub.format(stem=Path(chosen).stem), chosen


@contextmanager
def _faults(repository: str, file: str) -> Iterator[None]:
    """The hub's refusals in words that say what to do."""
    from huggingface_hub import errors

    page = f"{_endpoint()}/{repository}"
    try:
        yield
    except errors.GatedRepoError:
        raise Misconfigured(
            f"{repository} is gated: open {page} in a browser, log in and accept its terms; then run `hf auth login` "
            f"here with a token that may read it (or set HF_TOKEN), and fetch again"
        ) from None
    except errors.RepositoryNotFoundError:
        raise Misconfigured(
            f"the hub shows no {repository} to you: it is private, gone, or your token is refused; see {page}"
        ) from None
    except errors.EntryNotFoundError:
        raise Misconfigured(f"{repository} has no {file}: its authors have moved it; see {page}") from None
    except (errors.HTTPError, errors.OfflineModeIsEnabled) as error:
        reason = str(error).strip().splitlines()
        raise Unavailable(
            "the model hub",
            f"{_endpoint()} does not answer as it should ({reason[0] if reason else type(error).__name__}). What came "
            f"is kept, fetch again; without a route, fetch {file} of {page} elsewhere, or set HF_ENDPOINT to a mirror",
        ) from None
    except (ValueError, KeyError, AttributeError, TypeError):  # the hub's library read what no hub sends
        raise Unavailable(
            "the model hub",
            f"{_endpoint()} answers, but not as a hub does: a proxy's login page may stand before it, or HF_ENDPOINT "
            f"may be no hub's address; open {page} in a browser",
        ) from None


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Unavailable("disk", f"{folder} is full: make room and fetch again; what came is kept") from None
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST}:
            raise Misconfigured(f"{folder} cannot be written: {error.strerror}") from None
        raise Unavailable("the model hub", f"it broke off ({error}): fetch again, what came is kept") from None


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Two fetches of one file at once would write into each other."""
    with part.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(f"another fetch is bringing {part}: wait for it") from None
        yield


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _same_host(url: str) -> bool:
    from urllib.parse import urlsplit

    return urlsplit(url).netloc == urlsplit(_endpoint()).netloc
