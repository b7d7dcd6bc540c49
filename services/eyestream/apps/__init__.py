"""One process a module: the only code that knows Ray, a command line or a signal."""

from __future__ import annotations
