"""Makes what follows from values.yaml and the services' settings; says what has drifted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from chartkit import dashboards, readme, schema, settings, values

CHART: Final = Path(__file__).resolve().parents[1] / "eyestream"
COMMAND: Final = "PYTHONPATH=helm .venv/bin/python -m chartkit generate"


def generated() -> dict[Path, str]:
    """The text that each generated file must have; values.yaml is written first, since the others are read from it."""
    own = CHART / "values.yaml"
    text = settings.replace_block(own.read_text("utf-8"))
    if text != own.read_text("utf-8"):
        return {own: text}
    root = values.read(own)
    template = (CHART / "README.md.gotmpl").read_text("utf-8")
    return {
        own: text,
        CHART / "values.schema.json": json.dumps(schema.build(root), indent=1, ensure_ascii=False) + "\n",
        CHART / "README.md": readme.render(template, root),
        **{CHART / "files" / "dashboards" / f"{name}.json": dashboards.render(name) for name in dashboards.DASHBOARDS},
    }


def drifted() -> list[Path]:
    """Files that are not what they must be."""
    return [file for file, text in generated().items() if not file.exists() or file.read_text("utf-8") != text]


def write() -> list[Path]:
    """Bring every file up to date; returns those that changed."""
    changed: list[Path] = []
    while stale := drifted():
        made = generated()
        for file in stale:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(made[file], "utf-8")
        changed += stale
    return changed
