"""Every command is typed by a test somewhere: a new one cannot escape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from snnet.cli.app import snnet

TESTS = Path(__file__).parent.parent
TYPED = "\n".join(path.read_text() for path in sorted(TESTS.rglob("*.py")))


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command that does something itself."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*words, name))
    else:
        yield words


EVERY_COMMAND = list(commands(snnet))


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_a_test_types_it(words: tuple[str, ...]) -> None:
    """As a line, ``"vnic list ..."``, or as words, ``["vnic", "list", ...]``."""
    line = r"[\"'](snnet )?" + " ".join(map(re.escape, words)) + r"[ \"'\\]"
    listed = r"[\[(\s]" + r",\s+".join(f"[\"']{re.escape(word)}[\"']" for word in words) + r"[,\])]"
    assert re.search(f"{line}|{listed}", TYPED)
