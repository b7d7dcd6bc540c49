"""What keeps the house: one version, a changelog, names that agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import eyestream

ROOT = Path(__file__).parents[2]


def test_the_version_is_told_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == eyestream.__version__


def test_the_changelog_begins_with_what_is_unreleased():
    assert (ROOT / "CHANGELOG.md").read_text().split("## ")[1].startswith("[Unreleased]")


def test_every_decision_is_in_the_index_and_says_what_would_change_our_mind():
    index = (ROOT / "docs/decisions/README.md").read_text()
    for page in sorted((ROOT / "docs/decisions").glob("0*.md")):
        assert f"({page.name})" in index, page.name
        assert "change our mind" in page.read_text(), page.name


def test_locks_are_hashed_and_name_no_address():
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text, lock.name
        assert "://" not in text, lock.name
        assert "--index-url" not in text, lock.name


def test_where_ray_is_uvloop_is_too():
    """Serve's proxy makes its own listening socket; only uvloop lets answers go at once whatever the socket is."""
    locks = {lock.name: lock.read_text() for lock in (ROOT / "requirements").glob("*.txt")}
    serving = {name for name, text in locks.items() if "\nray==" in text}
    assert {"results.txt", "worker.txt"} <= serving
    assert serving <= {name for name, text in locks.items() if "\nuvloop==" in text}


def test_links_between_our_own_pages_lead_somewhere():
    import re

    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} → {target}"
