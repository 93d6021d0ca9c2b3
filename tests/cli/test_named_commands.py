"""Every command that a page, a changelog fragment, a help text or a message names is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from snnet.cli.app import snnet

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for pattern in (
        "*.md", "docs/*.md", "changelog.d/*.md", "examples/*/*.md", "contrib/*", "src/snnet/**/*.py"
    )
    for path in sorted(ROOT.glob(pattern))
]  # fmt: skip

_QUOTED = re.compile(r"`(snnet [a-z-][^`]*)`|(?<!\w)'(snnet [a-z-][^'\"]*)'")
"""In running text or in a message, maybe over the end of a line."""
_TYPED = re.compile(r"^(?:[ #]*|.*[$#] |.*\$\(|.*&& )(snnet [a-z-][^)\n]*)", re.MULTILINE)
"""On a line of a block, at a prompt or within another command."""
_END = re.compile(r"[|>&;#]|\s\.\.\.|$")


def named(path: Path) -> Iterator[str]:
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    for match in _QUOTED.finditer(text):
        yield " ".join((match[1] or match[2]).split())
    if path.suffix == ".md":
        blocks = text.split("```")[1::2]
        text = "\n".join(block for block in blocks if re.match(r"(sh|console)?\n", block))
    elif path.suffix == ".py":
        text = "\n".join(re.findall(r"^    \\b\n((?:    .+\n)+)", text, re.MULTILINE))
    for match in _TYPED.finditer(text):
        yield match[1]


def problem(line: str) -> str | None:
    """What of a command line no command has: a word, or an option."""
    words = shlex.split(line[: _END.search(line).start()])[1:]  # type: ignore[union-attr]
    command: click.Command = snnet
    seen = command.params
    for word in words:
        if word.startswith("-"):
            known = {name for item in seen for name in (*item.opts, *item.secondary_opts)}
            if word.partition("=")[0].rstrip(",") not in {*known, "-h", "--help", "--version"}:
                return f"{command.name} has no option {word}"
        elif isinstance(command, click.Group):
            below = command.get_command(click.Context(command), word)
            if below is None:
                return f"{command.name} has no command {word!r}"
            command, seen = below, [*seen, *below.params]
    return None


COMMANDS = sorted({(str(path.relative_to(ROOT)), line) for path in PAGES for line in named(path)})


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 200
    places = {page.partition("/")[0] for page, _ in COMMANDS}
    assert places >= {"README.md", "docs", "changelog.d", "examples", "src"}


def test_a_command_that_is_not_there_is_noticed() -> None:
    assert problem("snnet doctor") == "snnet has no command 'doctor'"
    assert problem("snnet vnic create v1 --netwrok web") == "create has no option --netwrok"
    assert problem("snnet vnic list | grep v1 --color") is None


@pytest.mark.parametrize("page", sorted({page for page, _ in COMMANDS}))
def test_what_is_named_is_there(page: str) -> None:
    assert [found for where, line in COMMANDS if where == page and (found := problem(line))] == []


def test_the_example_of_one_host_goes_on_from_the_readmes_first_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same names, and other addresses."""
    monkeypatch.chdir(ROOT / "examples" / "one-host")
    monkeypatch.setenv("SNNET_REGISTRY", f"sqlite://{tmp_path}/registry.db")
    verbs = ("network create ", "vnic create ", "forward create ", "network delete ", "apply ")
    typed = []
    for page, title in (("../../README.md", "## One host"), ("README.md", "# Guests on one host")):
        text = Path(page).read_text(encoding="utf-8").partition(title)[2].partition("\n## ")[0]
        blocks = [block for block in text.split("```")[1::2] if block.startswith("sh\n")]
        lines = [line.removeprefix("snnet ") for block in blocks for line in block.splitlines()]
        typed += [line for line in lines if line.startswith(verbs) and "--dry-run" not in line]
    assert [line.split()[0] for line in typed[-2:]] == ["network", "apply"]
    typed.remove("apply -f web.yaml")  # the README's own file, which is another one
    for line in typed:
        words = shlex.split(line, comments=True)
        no_wait = ["--no-wait"] if words[1] == "create" else []
        result = CliRunner().invoke(snnet, [*words, *no_wait])
        assert result.exit_code == 0, (line, result.output)
