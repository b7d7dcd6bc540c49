"""What a load test is told by its surroundings: LOAD_* in the environment. What the line is, EYESTREAM_* says."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from eyestream.errors import Misconfigured


class Options(BaseSettings):
    """The variables, without their prefix."""

    model_config = SettingsConfigDict(env_prefix="LOAD_", frozen=True, use_attribute_docstrings=True)

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
    """The options of this process. Raises Misconfigured, naming each variable that is wrong."""
    try:
        return Options()
    except ValidationError as error:
        wrong = [f"  LOAD_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors(include_url=False)]
        raise Misconfigured("The environment is wrong:\n" + "\n".join(wrong)) from None
