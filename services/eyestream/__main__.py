"""`python -m eyestream`: the same as the `eyestream` program."""

from __future__ import annotations

from eyestream.apps.cli import main

main()
