"""The public names: there, with the documented signatures, and harmless to import."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest

import snnet

CALLS: dict[str, list[str]] = {
    "NetworkConfig": [
        "compute_nets", "management_nets", "mode", "tunnel", "mtu", "macvtap_mode", "floating_pool",
        "public_gateway", "dhcp_reserved", "domain_name", "anti_spoofing",
        "node_number", "allow_to_nets",
    ],
    "NetworkConfig.from_yaml": ["path"],
    "NetworkConfig.from_dict": ["data"],
    "VnicConfig": [
        "*role", "*vnic_id", "*instance_id", "*tenant_id", "*subnet_id", "*concentrator_id",
        "*concentrator_ip", "*subnet", "*subnet_key", "*ip", "*mac", "*mtu", "*queues",
    ],
    "Neighbor": ["*physical_ip", "*subnet", "*tunnel_ip", "*tunnel_id"],
    "ComputeNode": [
        "node_id", "config", "*backend", "*firewall", "*netns", "*api_timeout",
        "*max_api_concurrency", "*read_only",
    ],
    "ComputeNode.init": [],
    "ComputeNode.create_vnic": ["cfg", "*timeout", "*cancel"],
    "ComputeNode.plan_create_vnic": ["cfg"],
    "ComputeNode.destroy_vnic": ["cfg", "*timeout", "*cancel"],
    "ComputeNode.create_vnics": ["cfgs", "*atomic", "*timeout", "*cancel"],
    "ComputeNode.destroy_vnics": ["cfgs", "*timeout", "*cancel"],
    "ComputeNode.reconcile": ["*vnics", "*cnci_vnics"],
    "ComputeNode.create_cnci_vnic": ["cfg", "*timeout", "*cancel"],
    "ComputeNode.destroy_cnci_vnic": ["cfg", "*timeout", "*cancel"],
    "ComputeNode.topology": [],
    "ComputeNode.rebuild_topology": ["*timeout", "*cancel"],
    "ComputeNode.verify": [],
    "ComputeNode.repair": ["*timeout", "*cancel"],
    "ComputeNode.reset_network": ["*timeout", "*cancel"],
    "ComputeNode.dump_firewall": [],
    "ComputeNode.close": [],
    "Cnci": [
        "node_id", "config", "*tenant_id", "*backend", "*firewall", "*dhcp", "*netns",
        "*api_timeout", "*max_api_concurrency", "*read_only",
    ],
    "Cnci.init": [],
    "Cnci.add_remote_subnet": ["subnet", "key", "cn_ip", "port", "*timeout", "*cancel"],
    "Cnci.del_remote_subnet": ["subnet", "key", "cn_ip", "*timeout", "*cancel"],
    "Cnci.update_neighbors": ["neighbors", "*timeout", "*cancel"],
    "Cnci.dhcp": ["subnet"],
    "Cnci.enable_nat": ["devices", "*nat66", "*timeout", "*cancel"],
    "Cnci.disable_nat": ["*timeout", "*cancel"],
    "Cnci.remove_subnet": ["subnet", "*timeout", "*cancel"],
    "Cnci.allow_external": ["device", "bridge", "*timeout", "*cancel"],
    "Cnci.deny_external": ["device", "bridge", "*timeout", "*cancel"],
    "Cnci.add_port_forward": [
        "*protocol", "*device", "*port", "*to", "*to_port", "*address", "*sources",
    ],
    "Cnci.remove_port_forward": ["*protocol", "*device", "*port", "*address"],
    "Cnci.add_public_ip": ["address", "*to", "*device"],
    "Cnci.remove_public_ip": ["address"],
    "Cnci.dump_firewall": [],
    "Cnci.rebuild_topology": ["*timeout", "*cancel"],
    "Cnci.shutdown": ["*timeout", "*cancel"],
    "Cnci.close": [],
    "FakeKernel.add_uplink": ["name", "cidr"],
    "FakeKernel.fail": ["at", "error"],
    "FakeKernel.to_text": [],
    "Fabric": [],
    "Fabric.add_host": ["name", "cidr", "*on"],
    "Fabric.attach": ["kernel", "vnic", "*dhcp"],
    "Fabric.ping": ["source", "target"],
    "Fabric.explain": ["source", "target"],
    "debug_ssh_port": ["ip"],
    "mac_for": ["ip"],
}  # fmt: skip
"""The parameters callers rely on; ``*`` marks those given by keyword only."""


def named(path: str) -> Any:
    thing: Any = snnet
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def parameters(call: Callable[..., Any]) -> list[inspect.Parameter]:
    return [item for item in inspect.signature(call).parameters.values() if item.name != "self"]


@pytest.mark.parametrize("path", CALLS)
def test_calls_take_what_is_documented(path: str) -> None:
    found = parameters(named(path))
    marked = [("*" if item.kind is item.KEYWORD_ONLY else "") + item.name for item in found]
    assert marked[: len(CALLS[path])] == CALLS[path]
    # What comes on top is nobody's duty to give.
    assert all(item.default is not item.empty for item in found[len(CALLS[path]) :])


_NEEDED = {
    "NetworkConfig": set(),
    "VnicConfig": set(),
    "Neighbor": {"physical_ip", "subnet", "tunnel_ip", "tunnel_id"},
    "ComputeNode": {"node_id", "config"},
    "Cnci": {"node_id", "config", "tenant_id"},
}


@pytest.mark.parametrize("path", _NEEDED)
def test_what_has_to_be_given_and_what_has_not(path: str) -> None:
    needed = {item.name for item in parameters(named(path)) if item.default is item.empty}
    assert needed == _NEEDED[path]


@pytest.mark.parametrize(
    "call",
    [
        path
        for path in CALLS
        if path.split(".")[0] in ("ComputeNode", "Cnci") and "*timeout" in CALLS[path]
    ],
)
def test_no_call_has_a_limit_or_a_token_unless_it_is_given_one(call: str) -> None:
    defaults = {item.name: item.default for item in parameters(named(call))}
    assert (defaults["timeout"], defaults["cancel"]) == (None, None)


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("NetworkMode", {"ROUTED", "GRE_TUNNEL"}),
        ("VnicRole", {"TENANT_VM", "TENANT_CONTAINER", "DATA_CENTER"}),
        ("TunnelEventType", {"ADD", "DEL"}),
        ("ContainerEvent", {"INFO", "ADD", "DEL"}),
    ],
)
def test_enumerations_have_the_documented_members(path: str, members: set[str]) -> None:
    assert {member.name for member in named(path)} == members


@pytest.mark.parametrize(
    "path",
    [
        "ComputeNode.uplinks",
        "ComputeNode.compute_ip",
        "ComputeNode.backend",
        "Cnci.uplinks",
        "Cnci.compute_ip",
        "Cnci.backend",
        "Cnci.public_ips",
        "Cnci.port_forwards",
        "Vnic.link_name",
        "Vnic.peer_name",
        "Vnic.global_id",
        "Vnic.mtu",
        "Vnic.fds",
        "CnciVnic.link_name",
        "CnciVnic.index",
        "CnciVnic.device",
        "CnciVnic.mac",
        "TunnelEvent.type",
        "TunnelEvent.cnci_ip",
        "TunnelEvent.cn_ip",
        "TunnelEvent.subnet",
        "TunnelEvent.tenant_id",
        "TunnelEvent.subnet_id",
        "TunnelEvent.concentrator_id",
        "TunnelEvent.cn_id",
        "TunnelEvent.subnet_key",
        "ContainerInfo.event",
        "ContainerInfo.subnet_id",
        "ContainerInfo.subnet",
        "ContainerInfo.gateway",
        "ContainerInfo.bridge",
        "Plan.to_json",
        "Plan.to_commands",
    ],
)
def test_attributes_are_there(path: str) -> None:
    assert named(path) is not None


def test_results_have_the_documented_attributes() -> None:
    from snnet.node.results import CreatedVnic, DestroyedVnic, Report

    assert {"vnic", "tunnel_event", "container_info"} <= set(CreatedVnic.__dataclass_fields__)
    assert {"tunnel_event", "container_info"} <= set(DestroyedVnic.__dataclass_fields__)
    assert {"tunnel_events", "healed", "orphans"} <= set(Report.__dataclass_fields__)


def test_everything_announced_is_there_and_documented() -> None:
    for name in snnet.__all__:
        assert inspect.getdoc(getattr(snnet, name)), name
    assert sorted(snnet.__all__) == snnet.__all__
    with pytest.raises(AttributeError, match="nothing_like_it"):
        snnet.nothing_like_it  # type: ignore[attr-defined]  # noqa: B018


def test_nodes_are_context_managers() -> None:
    config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
    with snnet.ComputeNode("cn-1", config, backend="fake", firewall="fake") as node:
        node.init()
        # The fake by name has the first host of the first compute net.
        assert str(node.compute_ip) == "192.0.2.1"
    with pytest.raises(snnet.InvalidRequest):
        node.topology()


def test_values_come_back_as_documented() -> None:
    assert snnet.mac_for("10.1.0.9") == "02:00:0a:01:00:09"
    assert snnet.mac_for(IPv4Address("10.171.205.239")) == "02:00:0a:ab:cd:ef"
    assert snnet.VnicConfig(mac="02:AB:CD:EF:00:01").mac == "02:ab:cd:ef:00:01"
    assert snnet.debug_ssh_port("10.1.0.9") == 33009
    assert snnet.debug_ssh_port("10.1.127.23") == 65535
    with pytest.raises(snnet.InvalidRequest):
        snnet.debug_ssh_port("10.1.127.24")


_LOOK = """
import json, os, sys, threading
before = (sorted(os.environ.items()), os.listdir("/proc/self/fd"), os.getcwd(), os.umask(0o22))
os.umask(before[3])
import snnet
after = (sorted(os.environ.items()), os.listdir("/proc/self/fd"), os.getcwd(), os.umask(0o22))
print(json.dumps({
    "modules": sorted(sys.modules),
    "same": before == after,
    "threads": threading.active_count(),
}))
"""


def test_importing_is_light_and_has_no_effect() -> None:
    done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    heavy = {
        "pyroute2", "stevedore", "pluggy", "click", "rich", "yaml", "subprocess", "asyncio",
        "multiprocessing", "socket", "urllib.request",
    }  # fmt: skip
    assert heavy.isdisjoint(name.partition(".")[0] for name in seen["modules"])
    assert not any(name.startswith("snnet.backends.netlink") for name in seen["modules"])
    assert not any(name.startswith("snnet.backends.fake") for name in seen["modules"])
    assert seen["same"]
    assert seen["threads"] == 1
    assert done.stderr == ""


def test_every_public_name_is_found_lazily() -> None:
    """The three lists of names agree: for type checkers, for ``import *``, and at run time."""
    listed = {name for names in snnet._MODULES.values() for name in names}
    assert listed | {"__version__"} == {*snnet.__all__, "__version__"}
    assert snnet.__all__ == sorted(snnet.__all__)
    for name in snnet.__all__:
        assert getattr(snnet, name) is not None
    assert {*snnet.__all__} <= {*dir(snnet)}
