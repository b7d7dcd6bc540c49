"""A child program: makes a bank of its own for the programme, and puts it into service when it is told."""

from __future__ import annotations

from pathlib import Path

from eyestream import records
from eyestream import settings as settings_module
from eyestream.apps import bank
from eyestream.banks.build import build
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream_load import lines


def program() -> None:
    """`open` once, then `activate` once. The bank differs from the one in service by one more template."""
    given = lines.orders()
    opening = next(given)
    name, mark = opening["scenario"]["programme"], opening["mark"]
    if not opening["text_tower"]:
        raise Misconfigured("a swap of banks needs the encoder's text tower: name its folder in LOAD_TEXT_TOWER")
    shelf = Shelf(settings_module.load().banks.shelf)
    current = shelf.current(name)
    if current is None:
        raise Misconfigured(f"no bank of {name} is in service, so none can be exchanged")
    text = current.programme.text.replace('"{}"', f'"{{}}", "in the picture of {mark}: {{}}"')
    programme, provenance = Programme.parse(text), current.head.provenance
    head = build(
        programme,
        bank.tower(Path(opening["text_tower"])),
        encoder_digest=provenance.encoder,
        preprocessing_digest=provenance.preprocessing,
    )
    if head.digest == current.head.digest:
        raise Misconfigured(f"the programme {name} has no template to add one to: its bank would stay the same")
    shelf.publish(programme, head)
    lines.tell("ready")
    for order in given:
        if order["do"] == "activate":
            shelf.activate(name, head.digest)
            lines.tell("activated", at=records.now(), bank=head.digest)


def main() -> None:
    """Run it."""
    lines.run(program)


if __name__ == "__main__":
    main()
