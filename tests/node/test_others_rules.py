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


BRIDGE_CLOSINGS = {
    "nft": (
        "nft -f -",
        "add table bridge theirs\n"
        "add chain bridge theirs one { type filter hook forward priority 10; policy drop; }",
    ),
    "ebtables": ("ebtables -P FORWARD DROP", ""),
}


@pytest.mark.parametrize("name", BRIDGE_CLOSINGS)
@pytest.mark.parametrize("bridged", ["0", "1"])
def test_what_drops_frames_on_bridges_is_named(real_walled: World, name: str, bridged: str) -> None:
    """Chains of bridges see every frame, whether those of IP do (br_netfilter) or not."""
    netns = real_walled.kernel.host.netns.fd
    run(["sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={bridged}"], netns=netns)
    node = real_walled.node()
    made = node.create_vnic(vm()).vnic
    assert node.verify() == []
    command, text = BRIDGE_CLOSINGS[name]
    run(command.split(), input=text + "\n", netns=netns)
    (line,) = node.verify()
    assert f"drops what snnet lets through: through {made.bridge}, by its policy" in line
