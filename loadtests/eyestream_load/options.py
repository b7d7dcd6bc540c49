"""What a load test is told by its surroundings: LOAD_* in the environment. What the line is, EYESTREAM_* says."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from eyestream.errors import Misconfigured

PREFIX: Final = "LOAD_"


class Options(BaseSettings):
    """The variables, without their prefix."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True)

    scenario: str = "clinic-morning"
    """A scenario's name, or a TOML file."""
    seconds: float | None = Field(default=None, gt=0)
    """Stretch the scenario to this time."""
    out: Path | None = None
    """Folder for summary.json, stages.csv and pictures*.csv; nothing is written when not given."""
    web_url: str = ""
    """Where the results service answers; without it there are no readers."""
    web_key: SecretStr = SecretStr("")
    """An API key of the results service, with the scopes read and decide."""
    text_tower: Path | None = None
    """The encoder's text tower, for a swap of banks; the shelf must then be writable."""


def read() -> Options:
    """The options of this process. Raises Misconfigured, naming each variable that is wrong or that nothing reads."""
    refuse_strays()
    try:
        return Options()
    except ValidationError as error:
        faults = error.errors(include_url=False)
        wrong = [f"  {PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in faults]
        raise Misconfigured("The environment is wrong:\n" + "\n".join(wrong)) from None


def refuse_strays() -> None:
    """Raises Misconfigured for a LOAD_ variable that no option reads, with the name that comes closest."""
    known = [f"{PREFIX}{name}".upper() for name in Options.model_fields]
    for variable in os.environ:  # noqa: TID251  # only their names, as eyestream.settings does with its own
        if not variable.upper().startswith(PREFIX) or variable.upper() in known:
            continue
        close = difflib.get_close_matches(variable.upper(), known, n=1)
        there = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
        raise Misconfigured(
            f"The environment sets {variable}, which no option of a load test reads: {there} Mend its name or unset it "
            f"(in Kubernetes, enableServiceLinks: false keeps a Service from making such variables)."
        )
