"""The dashboard's files as they are served; what a person sees of them is in tests/dashboard."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STATIC = files("eyestream.web").joinpath("static")
NAMES = sorted(file.name for file in STATIC.iterdir())


async def test_the_page_comes_without_a_key_and_may_run_nothing_but_its_own_files(world):
    answer = await world.client(None).get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert await world.recorded() == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "index.html"])
async def test_every_file_is_served_with_its_type_and_kept_by_the_browser_while_it_is_the_same(world, name):
    client = world.client(None)
    answer = await client.get(f"/assets/{name}")
    assert answer.content == STATIC.joinpath(name).read_bytes()
    kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}[Path(name).suffix]
    assert answer.headers["content-type"].partition(";")[0] == kind
    again = await client.get(f"/assets/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2fdashboard.py", "../dashboard.py", "%2e%2e/keys.py"])
async def test_nothing_else_is_served(world, is_problem, name):
    is_problem(await world.client(None).get(f"/assets/{name}"), 404, "not-found")


async def test_the_page_is_no_part_of_the_described_api(world):
    assert not [path for path in world.app.openapi()["paths"] if path == "/" or path.startswith("/assets")]


def test_no_file_names_another_place_or_makes_markup_of_text():
    for name in NAMES:
        text = STATIC.joinpath(name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), name
        assert not re.search(r"\sstyle=|\son[a-z]+=\"", text), name


def test_what_one_file_imports_another_exports():
    exported = {
        name: set(re.findall(r"^export (?:async )?(?:function\*?|const|class) (\w+)", text(name), re.MULTILINE))
        for name in NAMES
    }
    for name in NAMES:
        for wanted, source in re.findall(r"^import \{([^}]+)\} from \"\./([^\"]+)\"", text(name), re.MULTILINE):
            assert {one.strip() for one in wanted.split(",")} <= exported[source], name


def text(name: str) -> str:
    return STATIC.joinpath(name).read_text("utf-8")


def test_the_wheel_holds_every_file(tmp_path):
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(built, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = {Path(name).name for name in packed.namelist() if name.startswith("eyestream/web/static/")}
    assert held == set(NAMES)
