"""Nouns in comments and back."""

from __future__ import annotations

import pytest

from snnet.contract import Noun, keyed
from snnet.firewall.iptables import layout

from .nouns import ALL, LONGEST_OWNER, OWNER, ZONE, extremes


def _listed(rules: list[str]) -> list[str]:
    """As ``iptables -S`` prints them."""
    return [f"-A SNNET-x-rec {rule}" for rule in rules]


@pytest.mark.parametrize(
    ("owner", "nouns"),
    [(OWNER, ALL), (LONGEST_OWNER, extremes(LONGEST_OWNER)), ("", extremes(""))],
    ids=["ordinary", "longest", "no owner"],
)
def test_what_is_written_is_read(owner: str, nouns: list[Noun]) -> None:
    found = layout.read_records(_listed(layout.write_records(owner, nouns)))
    assert found.owner == owner
    assert found.nouns == nouns


def test_a_comment_fits() -> None:
    for rule in layout.write_records(LONGEST_OWNER, extremes(LONGEST_OWNER)):
        assert len(rule.removeprefix("-m comment --comment ").strip('"')) <= 255


def test_a_record_reads_like_this() -> None:
    assert layout.write_records(OWNER, [ZONE]) == [
        '-m comment --comment "snnet1 k=owner owner=cnci:tester"',
        '-m comment --comment "snnet1 k=zone zone=t1 networks= outbound=False"',
    ]


@pytest.mark.parametrize(
    "line",
    [
        "-j ACCEPT",
        '-m comment --comment "somebody was here"',
        '-m comment --comment "snnet1"',
        '-m comment --comment "snnet1 k=zone"',
        '-m comment --comment "snnet1 k=zone zone=t2 networks=nonsense"',
        '-m comment --comment "snnet1 k=zone zone=t2 colour=red"',
        '-m comment --comment "snnet1 k=zone zone=t2 outbound=maybe"',
        '-m comment --comment "snnet9 k=zone zone=t2"',
        '-m comment --comment "snnet1 k=zone zone=t2',
        "-m comment --comment",
    ],
)
def test_what_does_not_parse_is_left_out(line: str) -> None:
    lines = _listed(layout.write_records(OWNER, [ZONE]))
    assert layout.read_records([*lines, line]).nouns == [ZONE]


def test_a_chain_that_tells_no_owner_tells_of_nothing() -> None:
    assert layout.read_records(_listed(layout.write_records(OWNER, ALL))[1:]).nouns == []


def test_a_chain_has_28_characters_at_most() -> None:
    parts = ("src", "fwd", "in", "dnat", "snat", "hair", "back", "exit", "rec", "from", "to")
    assert max(len(layout.chain("x" * 80, part, "y" * 64)) for part in parts) == 28


def test_keys_name_their_record() -> None:
    assert {key[0] for key in keyed(ALL)} == layout.KINDS.keys()
