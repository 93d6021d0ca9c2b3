"""The world a node's test runs in: the fake kernel or a fresh real namespace.

The same tests run in both, which is how the fake is kept honest.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import snnet
from snnet.backends.fake import FakeDhcp
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Add, Change, DhcpScope, Driver, Link, Other, Remove
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.system.host import RealHost
from snnet.system.netns import netns_id
from snnet.system.process import run

COMPUTE_NETS = {4: "192.0.2.0/24", 6: "2001:db8::/64"}
UPLINKS = {4: "192.0.2.11/24", 6: "2001:db8::11/64"}

LIMIT = {"api_timeout": 60.0}
"""The default, 6 s, is short for an emulated machine."""


class World:
    """One host with an uplink ``eth0``, and the nodes on it.

    The uplink has 192.0.2.11/24, or 2001:db8::11/64 where ``version`` is 6.
    """

    tunnel: str
    version: int
    hands_out_queues = True
    """Whether the nodes' backend gives descriptors of a tap's queues."""
    kernel: Driver
    """An open backend that looks at the host and is nobody's."""

    def __init__(self, tunnel: str, version: int = 4) -> None:
        self.tunnel = tunnel
        self.version = version
        self._open = ExitStack()

    def config(self, **changes: Any) -> snnet.NetworkConfig:
        return snnet.NetworkConfig(
            **{
                "compute_nets": [COMPUTE_NETS[self.version]],
                "tunnel": self.tunnel,
                **changes,
            }
        )

    def drivers(self) -> dict[str, Any]:
        """How to open a node here."""
        raise NotImplementedError

    def node(
        self, node_id: str = "cn-1", *, init: bool = True, **options: Any
    ) -> snnet.ComputeNode:
        config = options.pop("config", None) or self.config()
        node = snnet.ComputeNode(node_id, config, **{**LIMIT, **self.drivers(), **options})
        self._open.enter_context(node)
        if init:
            node.init()
        return node

    def cnci(self, node_id: str = "cnci-1", *, init: bool = True, **options: Any) -> snnet.Cnci:
        config = options.pop("config", None) or self.config()
        options = {**LIMIT, "tenant_id": "t1", "dhcp": self.dhcp, **self.drivers(), **options}
        node = snnet.Cnci(node_id, config, **options)
        self._open.enter_context(node)
        if init:
            node.init()
        return node

    dhcp = "fake"

    def text(self) -> str:
        """The whole state of the host, comparable."""
        return "\n".join(sorted(str(noun) for noun in self.kernel.snapshot().values()))

    def link(self, name: str) -> Link | None:
        found = self.kernel.find(Link(name=name))
        assert found is None or isinstance(found, Link)
        return found

    def links(self) -> list[Link]:
        """All links but the loopback, the uplink and what the kernel makes by itself."""
        return [
            noun
            for noun in self.kernel.snapshot({Link}).values()
            if isinstance(noun, Link) and not isinstance(noun, Other) and noun.name not in _BUILT_IN
        ]

    def delete(self, name: str) -> None:
        """Delete a link behind the node's back."""
        link = self.link(name)
        assert link is not None
        outcome = self.kernel.apply([Remove(link)])
        assert outcome.error is None

    def add(self, *links: Link) -> None:
        """Make links that are not the node's."""
        outcome = self.kernel.apply([Add(link) for link in links])
        assert outcome.error is None, outcome.error

    def kill_dhcp(self, cnci: snnet.Cnci, bridge: str) -> None:
        """Have the DHCP server of a bridge die."""
        raise NotImplementedError

    def close(self) -> None:
        self._open.close()


_BUILT_IN = {"eth0", "eth0-far", "gre0", "gretap0", "ip6gre0", "erspan0"}


class FakeWorld(World):
    def __init__(self, tunnel: str, version: int = 4) -> None:
        super().__init__(tunnel, version)
        self.kernel: snnet.FakeKernel = snnet.FakeKernel()
        self.kernel.add_uplink("eth0", UPLINKS[version])

    def drivers(self) -> dict[str, Any]:
        return {"backend": self.kernel, "firewall": "fake"}

    def text(self) -> str:
        return self.kernel.to_text()

    def kill_dhcp(self, cnci: snnet.Cnci, bridge: str) -> None:
        server = FakeDhcp(self.kernel)
        scope = server.find(scope_on(bridge))
        assert isinstance(scope, DhcpScope)
        assert not server.apply([Change(replace(scope, running=False), scope)]).errors


def scope_on(bridge: str) -> DhcpScope:
    """The scope on this bridge, to be looked up."""
    return DhcpScope(link=bridge, subnets=(IPv4Network("0.0.0.0/24"),), mtu=1500)


class RealWorld(World):
    """A fresh namespace; the nodes use the backend named, and netlink looks at what came of it."""

    dhcp = "dnsmasq"
    kernel: NetlinkBackend

    def __init__(
        self,
        tunnel: str,
        netns: str,
        ip: Callable[..., str],
        version: int = 4,
        firewall: str = "nftables",
        backend: str = "netlink",
    ) -> None:
        super().__init__(tunnel, version)
        self.netns = netns
        self.backend = backend
        self.hands_out_queues = backend != "iproute_shell"
        self.firewall = firewall
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0-far", netns=netns)
        nodad = ["nodad"] if version == 6 else []
        ip("address", "add", UPLINKS[version], "dev", "eth0", *nodad, netns=netns)
        ip("link", "set", "eth0", "up", netns=netns)
        ip("link", "set", "eth0-far", "up", netns=netns)
        host = RealHost(netns, owner="cn:tester")
        self._open.callback(host.close)
        self._open.callback(_remove_claims, host)
        self.kernel = NetlinkBackend(host)
        self._open.callback(self.kernel.close)

    def text(self) -> str:
        rules = run(["nft", "-s", "list", "ruleset"], netns=self.kernel.host.netns.fd).stdout
        lines = rules.splitlines()
        mine = [line for line in lines if "snnet" in line.lower()]
        others = {line for line in lines if line.startswith("table ")} - {*mine}
        return "\n".join([super().text(), *sorted(others), *mine])

    def run(self, *argv: str) -> str:
        """Run a program in the namespace."""
        return run(argv, netns=self.kernel.host.netns.fd).stdout

    def drivers(self) -> dict[str, Any]:
        return {"backend": self.backend, "firewall": self.firewall, "netns": self.netns}

    def kill_dhcp(self, cnci: snnet.Cnci, bridge: str) -> None:
        server = cnci.drivers.dhcp
        assert isinstance(server, Dnsmasq)
        scope = server.find(scope_on(bridge))
        assert isinstance(scope, DhcpScope)
        pid = server.pid(scope)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while server.pid(scope) is not None:
            time.sleep(0.01)


def _remove_claims(host: RealHost) -> None:
    """Remove what processes that were killed left locked in the namespace of a test."""
    for path in host.runtime.glob(f"claim-*{netns_id(host.netns.fd).replace(':', '.')}*"):
        path.unlink(missing_ok=True)


def vm(number: int = 9, **changes: Any) -> snnet.VnicConfig:
    """The config of VM ``number`` of tenant t1's subnet s1, or of what ``changes`` say."""
    tenant, subnet = changes.pop("tenant", 1), changes.pop("subnet_number", 1)
    return snnet.VnicConfig(
        **{
            "role": snnet.VnicRole.TENANT_VM,
            "vnic_id": f"v{number}",
            "instance_id": f"i{number}",
            "tenant_id": f"t{tenant}",
            "subnet_id": f"s{subnet}",
            "concentrator_id": f"cnci-{tenant}",
            "concentrator_ip": f"192.0.2.{100 + tenant}",
            "subnet": f"10.{subnet}.0.0/24",
            "subnet_key": 100 * tenant + subnet,
            "ip": f"10.{subnet}.0.{number}",
            **changes,
        }
    )


def container(number: int = 9, **changes: Any) -> snnet.VnicConfig:
    return vm(number, role=snnet.VnicRole.TENANT_CONTAINER, **changes)


def port(number: int = 1, **changes: Any) -> snnet.VnicConfig:
    """The config of the CNCI VNIC ``number``."""
    return snnet.VnicConfig(
        **{
            "role": snnet.VnicRole.DATA_CENTER,
            "tenant_id": "t1",
            "vnic_id": f"c{number}",
            "instance_id": f"cnci-{number}",
            "mac": f"02:00:00:00:01:{number:02x}",
            **changes,
        }
    )
