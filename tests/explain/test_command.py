"""The command on real hosts: exit codes, JSON, and the command that it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from .hosts import FORWARDED, HOST, OUTSIDE, Host, local

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["nftables", "iptables"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    made = local(request.param)
    try:
        yield made
    finally:
        made.close()


def typed(host: Host, line: str, code: int) -> str:
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{host.netns}", sys.executable, "-m", "snnet", *line.split()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_guest_that_is_reached_and_then_not(host: Host) -> None:
    """What somebody else drops is named with the command that removes it, which works."""
    said = typed(host, "explain v10 v11", 0)
    assert "reached: v11 of acme answers" in said
    forward = ["-i", "lo", "-j", "ACCEPT"], ["-p", "icmp", "-j", "DROP"]
    space = next(space for space in host.spaces if space in said)
    for rule in forward:
        host.run("iptables-nft", "-I", "FORWARD", *rule, space=space)
    found: Any = json.loads(typed(host, "explain v10 v11 -o json", 1))
    assert found["outcome"] == "dropped"
    assert "iptables-nft table filter, chain FORWARD: -A FORWARD -p icmp -j DROP" in found["why"]
    assert found["hops"][-1]["host"].endswith(space)
    host.run(*found["fix"].split())
    typed(host, "explain v10 v11", 0)


def test_rules_in_families_of_nft(host: Host) -> None:
    for family, hook, more in (("bridge", "forward", ""), ("netdev", "ingress", "device eth0 ")):
        host.run(
            "nft", "-f", "-",
            text=f"add table {family} theirs\nadd chain {family} theirs one {{ type filter hook "
            f"{hook} {more}priority 0; }}\nadd rule {family} theirs one ether type ip drop\n",
        )  # fmt: skip
    assert "table bridge theirs, chain one: rule with handle" in typed(
        host, "explain v10 10.1.0.9 --tcp 22", 1
    )
    typed(host, "explain -6 --tenant acme v10 v9", 0)
    said = typed(host, f"explain {OUTSIDE[0]} {HOST[0]} --tcp {FORWARDED}", 1)
    assert "fix: nft delete rule netdev theirs one handle" in said
    host.run("nft", "delete", "table", "bridge", "theirs")
    host.run("nft", "delete", "table", "netdev", "theirs")
    typed(host, f"explain {OUTSIDE[0]} {HOST[0]} --tcp {FORWARDED}", 0)


def test_what_leaves_and_who_is_not_known(host: Host) -> None:
    assert "left: it leaves this host" in typed(host, f"explain v10 {OUTSIDE[0]}", 1)
    assert "'v9' may be one of" in typed(host, "explain v9 v10", 2)
    assert "give --tcp or --udp, not both" in typed(host, "explain v10 v11 --tcp 1 --udp 1", 2)


def test_rules_of_snnet_that_somebody_changed(host: Host) -> None:
    """Nobody can tell what is left of them does, but they can be repaired."""
    space = host.spaces[0]
    if host.firewall == "nftables":
        tables = [line.split()[1:] for line in host.run("nft", "list", "tables").splitlines()]
        ours = next(table for table in tables if table[0] == "inet" and "snnet" in table[1])
        host.run("nft", "flush", "chain", *ours, "forward")
    else:
        text = host.run("iptables-save")
        chain = next(word for word in text.split() if word.startswith(":SNNET") and "-from" in word)
        host.run("iptables", "-F", chain.removeprefix(":"))
    said = typed(host, f"explain v10 {OUTSIDE[0]}", 1)
    assert space
    assert "unknown: nobody can tell" in said
    assert "fix: snnet host repair" in said
