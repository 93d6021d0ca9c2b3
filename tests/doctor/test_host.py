"""``snnet host`` on the real kernel: nodes that it knows nothing of, broken in many ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from snnet import Cnci, ComputeNode, NetworkConfig, VnicConfig

pytestmark = pytest.mark.kernel

CONFIG = NetworkConfig(compute_nets=["192.0.2.0/24"], tunnel="vxlan", mtu=1400)


class Host:
    """A namespace with a compute node, and commands typed in it."""

    def __init__(self, netns: str) -> None:
        self.netns = netns
        self.do("ip link add eth0 type veth peer name far")
        self.do("ip address add 192.0.2.11/24 dev eth0")
        self.do("ip link set eth0 up")
        self.do("ip link set far up")
        with ComputeNode("cn-1", CONFIG, netns=netns, api_timeout=60) as node:
            node.init()
            made = node.create_vnic(
                VnicConfig(
                    tenant_id="acme", subnet_id="web", vnic_id="v1", instance_id="i1",
                    concentrator_id="c1", concentrator_ip="192.0.2.10",
                    subnet="10.1.0.0/24", subnet_key=7, ip="10.1.0.9",
                )
            )  # fmt: skip
        self.link = made.vnic.link_name

    def do(self, command: str, code: int | None = 0) -> str:
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.netns}", *command.split()],
            capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "80"},
        )  # fmt: skip
        assert code is None or done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def snnet(self, line: str, code: int = 0) -> str:
        return self.do(f"{sys.executable} -m snnet host {line}", code)

    def json(self, line: str, code: int = 0) -> Any:
        return json.loads(self.snnet(f"{line} --json", code))


@pytest.fixture
def host(make_netns: Callable[[], str]) -> Host:
    return Host(make_netns())


def test_a_host_without_anything(netns: str) -> None:
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-m", "snnet", "host", "show"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "nothing of snnet is on this host\n"


def test_what_is_there_is_shown_by_owner(host: Host) -> None:
    """Ids and settings come from the kernel and the runtime directory."""
    (node,) = host.json("show")
    assert node["name"] == "cn:cn-1"
    subnet = node["tenants"]["acme"]["subnets"]["web"]
    assert subnet["subnet_key"] == 7
    assert [vnic["link_name"] for vnic in subnet["vnics"]] == [host.link]
    tree = host.snnet("show")
    assert tree.startswith("cn:cn-1\n")
    assert host.link in tree


def test_both_roles_of_a_namespace(host: Host) -> None:
    with Cnci("c1", CONFIG, tenant_id="acme", netns=host.netns, api_timeout=60) as cnci:
        cnci.init()
        cnci.add_remote_subnet("10.2.0.0/24", 9, "192.0.2.12")
    assert [node["name"] for node in host.json("show")] == ["cn:cn-1", "cnci:c1"]
    host.snnet("verify")
    host.snnet("reset --yes")
    assert host.json("show") == []


@pytest.mark.parametrize(
    ("breakage", "named"),
    [
        ("ip link set {link} nomaster", "master"),
        # Only the link itself knew that it should be there; what it leaves is named.
        ("ip link delete {link}", "{link}"),
        ("nft flush ruleset", "missing"),
    ],
)
def test_differences_are_named_and_repaired(host: Host, breakage: str, named: str) -> None:
    host.snnet("verify")
    host.do(breakage.format(link=host.link))
    found = host.json("verify", 1)
    assert any(named.format(link=host.link) in item["difference"] for item in found)
    assert host.json("doctor", 1)
    host.snnet("repair")
    host.snnet("verify")


def test_the_printed_fix_works(host: Host) -> None:
    """What is not ours has a command that puts it right, word for word."""
    host.do("ip link set eth0 down")
    findings = host.json("doctor", 1)
    fixes = {finding["fix"] for finding in findings if "eth0" in finding["what"]}
    commands = [fix for fix in fixes if fix.startswith("ip link set")]
    assert commands
    host.do(commands[0])
    assert host.json("doctor", 0) == []


def test_reset_asks_first(host: Host) -> None:
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{host.netns}", sys.executable, "-m", "snnet", "host",
         "reset"],
        input="n\n", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Remove everything of cn:cn-1?" in done.stdout
    assert host.json("show")[0]["name"] == "cn:cn-1"
    host.snnet("reset --yes")
    assert host.json("show") == []
    assert host.link not in host.do("ip link")


def test_reset_without_an_uplink(host: Host) -> None:
    """A node that cannot start any more can be removed all the same."""
    host.do("ip link delete eth0")
    host.snnet("repair", 1)
    host.snnet("reset --yes")
    assert host.json("show") == []
    assert host.link not in host.do("ip link")


def test_a_node_that_a_process_holds(host: Host) -> None:
    """It can be looked at, and says who holds it where it would be changed."""
    with ComputeNode("cn-1", CONFIG, netns=host.netns, api_timeout=60) as node:
        node.init()
        host.snnet("verify")
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{host.netns}", sys.executable, "-m", "snnet", "host",
             "repair"],
            capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert str(os.getpid()) in done.stderr
