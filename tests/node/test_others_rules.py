"""Rules of others that drop a node's own packets are named, whatever program set them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import snnet
from snnet.system.process import run
from tests.node.world import World, vm

SUBNET = "10.1.0.0/24"
TABLE = "add table inet theirs\nadd chain inet theirs one"
FILTER = "{ type filter hook %s priority 10; policy accept; }"

CLOSINGS = {
    "nft-input": ("nft -f -", f"{TABLE} {FILTER % 'input'}\nadd rule inet theirs one reject"),
    "nft-output": ("nft -f -", f"{TABLE} {FILTER % 'output'}\nadd rule inet theirs one drop"),
    "iptables-nft": ("iptables-nft -P INPUT DROP", ""),
    "iptables-legacy": ("iptables-legacy -P INPUT DROP", ""),
    "iptables-raw": ("iptables-nft -t raw -A PREROUTING -p udp -j DROP", ""),
}


def close(world: World, name: str) -> None:
    command, text = CLOSINGS[name]
    run(command.split(), input=text + "\n", netns=world.kernel.host.netns.fd)


def about(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if "what snnet needs" in line]


@pytest.mark.parametrize("name", CLOSINGS)
def test_what_drops_the_packets_of_tunnels_is_named(real_walled: World, name: str) -> None:
    node = real_walled.node()
    node.create_vnic(vm())
    assert node.verify() == []
    close(real_walled, name)
    (line,) = about(node.verify())
    assert "packets of tunnels (udp/" in line
    assert "by eth0" in line


@pytest.mark.parametrize("name", CLOSINGS)
def test_what_drops_dhcp_is_named(real_walled: World, name: str) -> None:
    cnci: snnet.Cnci = real_walled.cnci()
    cnci.add_remote_subnet(SUBNET, 7, "192.0.2.12")
    assert cnci.verify() == []
    close(real_walled, name)
    (line,) = about(cnci.verify())
    assert "(and " in line, "DHCP, DNS and the tunnel are stopped"
