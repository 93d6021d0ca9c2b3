"""Every command is typed by a test somewhere: a new one cannot escape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

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


def groups(command: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if isinstance(below, click.Group):
            yield from groups(below, (*words, name))


@pytest.mark.parametrize("words", list(groups(snnet)), ids=lambda words: " ".join(words) or "snnet")
def test_no_line_of_its_list_of_commands_is_cut(words: tuple[str, ...]) -> None:
    """click ends what it cuts at 80 columns with dots."""
    listed = CliRunner().invoke(snnet, [*words, "--help"], terminal_width=80).output
    assert "Commands:" in listed
    assert [line for line in listed.splitlines()[1:] if line.endswith("...")] == []


def options(command: click.Command) -> Iterator[click.Option]:
    yield from (param for param in command.params if isinstance(param, click.Option))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below)


def test_help_names_each_variable_of_the_environment() -> None:
    """What sets an option unseen would explain no surprise."""
    with_variable = [option for option in options(snnet) if option.envvar]
    assert {option.envvar for option in with_variable} >= {"SNNET_DEBUG", "SNNET_REGISTRY"}
    assert [option for option in with_variable if not option.show_envvar] == []
