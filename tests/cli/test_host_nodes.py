"""``snnet host repair`` and ``reset`` with several nodes, one of which cannot be opened."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from snnet import ComputeNode, Conflict, FakeKernel, NetworkConfig
from snnet.cli.app import snnet
from snnet.cli.output import Branch, print_tree
from snnet.doctor import survey
from snnet.doctor.survey import FoundNode


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three nodes of a host, in whose middle is one that a process holds; who was opened."""
    opened: list[str] = []

    @contextmanager
    def fake(node: FoundNode, **_: Any) -> Iterator[ComputeNode]:
        opened.append(node.id)
        if node.id == "b":
            raise Conflict("cn:b is in use by process 7")
        kernel = FakeKernel()
        kernel.add_uplink("eth0", "192.0.2.11/24")
        with ComputeNode(node.id, NetworkConfig(), backend=kernel, firewall="fake") as it:
            it.init()
            yield it

    monkeypatch.setattr(survey, "survey", lambda: [FoundNode(f"cn:{id}") for id in "abc"])
    monkeypatch.setattr(survey, "opened", fake)
    return opened


@pytest.mark.parametrize(
    ("command", "order", "said"),
    [
        (["repair"], "abc", ""),
        (["reset", "--yes"], "cba", "cn:c: removed\ncn:a: removed\n"),
    ],
)
def test_one_that_fails_does_not_keep_the_others(
    asked: list[str], command: list[str], order: str, said: str
) -> None:
    result = CliRunner().invoke(snnet, ["host", *command])
    assert asked == list(order)
    assert (result.exit_code, result.stdout) == (1, said)
    assert result.stderr == "cn:b: cn:b is in use by process 7\n"


def test_a_tree_where_lines_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a locale whose characters are not those of Unicode."""
    tree = Branch("a", [Branch("b", [Branch("c")]), Branch("d")])
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    print_tree(tree)
    assert written.getvalue() == b"a\n|-- b\n|   `-- c\n`-- d\n"
