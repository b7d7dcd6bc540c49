"""What contestants are told on their command line. Knows none of them."""

from __future__ import annotations

import argparse


def arguments() -> argparse.Namespace:
    """Where everything is."""
    parser = argparse.ArgumentParser()
    for name in ("kafka", "topic", "group", "triton", "model", "redis", "prompts"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--size", type=int, required=True)
    return parser.parse_args()
