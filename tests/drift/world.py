"""Two hosts on a wire, a compute node and a concentrator with all that they can have."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import snnet
from snnet.system.host import RealHost
from tests.conftest import ip

CN, HUB, PEER = "192.0.2.11", "192.0.2.10", "192.0.2.12"
SUBNET, OTHER = "10.1.0.0/24", "10.2.0.0/24"
PUBLIC = "203.0.113.5"


class DriftWorld:
    """``cn`` and ``hub`` are names of namespaces; ``names`` are those of the nodes' links."""

    def __init__(self, make_netns: Callable[[], str], firewall: str = "nftables") -> None:
        self._open = ExitStack()
        self.wire, self.cn, self.hub, self.guest = (make_netns() for _ in range(4))
        ip("link", "add", "wire", "up", "type", "bridge", netns=self.wire)
        for netns, address in ((self.cn, CN), (self.hub, HUB)):
            port = f"p-{netns[-8:]}"
            words = ["peer", "name", "eth0", "netns", netns]
            ip("link", "add", port, "up", "master", "wire", "type", "veth", *words, netns=self.wire)
            ip("link", "set", "eth0", "up", netns=netns)
            ip("address", "add", f"{address}/24", "dev", "eth0", netns=netns)
        for device, address in (("ext0", "203.0.113.1"), ("ext1", "198.51.100.1")):
            ip(
                "link",
                "add",
                device,
                "type",
                "veth",
                "peer",
                "name",
                f"{device}-far",
                netns=self.hub,
            )
            for name in (device, f"{device}-far"):
                ip("link", "set", name, "up", netns=self.hub)
            ip("address", "add", f"{address}/24", "dev", device, netns=self.hub)
        ip("route", "add", "default", "via", "203.0.113.200", "dev", "ext0", netns=self.hub)
        config = snnet.NetworkConfig(
            compute_nets=["192.0.2.0/24"], tunnel="vxlan", domain_name="lan.example"
        )
        limit: dict[str, Any] = {"api_timeout": 60.0, "firewall": firewall}
        self.cnci = self._open.enter_context(
            snnet.Cnci("cnci-1", config, tenant_id="t1", netns=self.hub, **limit)
        )
        self.node = self._open.enter_context(
            snnet.ComputeNode("cn-1", config, netns=self.cn, **limit)
        )
        self.names: dict[str, str] = {}
        self._set_up()

    def _set_up(self) -> None:
        self.node.init()
        self.cnci.init()
        tap = self.node.create_vnic(_config(9, "tenant-vm"))
        veth = self.node.create_vnic(_config(10, "tenant-container"))
        event = tap.tunnel_event
        assert event is not None
        bridge = self.cnci.add_remote_subnet(event.subnet, event.subnet_key, event.cn_ip)
        self.cnci.add_remote_subnet(OTHER, 8, CN)
        self.cnci.enable_nat(["ext0"])
        self.cnci.allow_external("ext0", bridge)
        for number, device in enumerate(("ext0", "ext1")):
            self.cnci.add_port_forward(
                protocol="tcp", device=device, port=8080 + number, to="10.1.0.9", to_port=22
            )
        self.cnci.add_public_ip(PUBLIC, to="10.1.0.9", device="ext0")
        self.cnci.update_neighbors(
            [
                snnet.Neighbor(
                    physical_ip=HUB, subnet=SUBNET, tunnel_ip="172.31.0.1", tunnel_id=77
                ),
                snnet.Neighbor(
                    physical_ip=PEER, subnet="10.9.0.0/24", tunnel_ip="172.31.0.2", tunnel_id=77
                ),
            ]
        )
        self.cnci.dhcp(SUBNET).add_entry("10.1.0.77", mac="02:00:00:00:00:77", hostname="extra")
        self.names = self._find_names(tap.vnic, veth.vnic, bridge)

    def _find_names(self, tap: snnet.Vnic, veth: snnet.Vnic, bridge: str) -> dict[str, str]:
        here, there = self.links(self.cn), self.links(self.hub)
        own = next(name for name in there if name.startswith("sct-"))
        mesh = next(name for name in there if name.startswith("scm"))
        assert tap.bridge is not None
        assert veth.peer_name is not None
        links = {
            "bridge": tap.bridge,
            "tunnel": next(name for name in here if name.startswith("snt-")),
            "tap": tap.link_name,
            "veth": veth.link_name,
            "block": next(name for name in here if name.startswith("snr-")),
            "peer": veth.peer_name,
            "cbridge": bridge,
            "ctunnel": own,
            "mesh": mesh,
        }
        aliases = {f"alias of {link}": self._alias(name) for link, name in links.items()}
        return (
            aliases
            | links
            | {
                "server": self._runtime(f"dhcp@{{namespace}}@cnci:cnci-1@{bridge}"),
                "intents": self._runtime("journal-intents-cnci:cnci-1-{file_id}.jsonl"),
            }
        )

    def _alias(self, name: str) -> str:
        """What a link of the nodes says in its alias; the peer of a veth says nothing."""
        for netns in (self.cn, self.hub):
            if name in self.links(netns):
                (link,) = json.loads(ip("-j", "link", "show", "dev", name, netns=netns))
                return str(link.get("ifalias", ""))
        raise AssertionError(name)

    def _runtime(self, name: str) -> str:
        """The path of a file of the concentrator in the runtime directory."""
        host = self.cnci.backend.host
        assert isinstance(host, RealHost)
        namespace = host.netns.id.replace(":", ".")
        return str(host.runtime / name.format(namespace=namespace, file_id=host._file_id))

    def links(self, netns: str) -> list[str]:
        """The names of all links."""
        words = ip("-br", "link", "show", netns=netns).splitlines()
        return [line.split()[0].split("@")[0] for line in words]

    def sh(self, netns: str, script: str) -> str:
        """Run a script in a namespace; ``{names}`` stand for the nodes' links."""
        text = script
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        argv = ["ip", "netns", "exec", netns, "sh", "-ec", text]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(argv)}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        try:
            self.cnci.shutdown()
            self.node.reset_network()
        finally:
            self._open.close()


def _config(number: int, role: str) -> snnet.VnicConfig:
    return snnet.VnicConfig(
        role=snnet.VnicRole(role),
        vnic_id=f"v{number}",
        instance_id=f"i{number}",
        tenant_id="t1",
        subnet_id="s1",
        concentrator_id="cnci-1",
        concentrator_ip=HUB,
        subnet=SUBNET,
        subnet_key=7,
        ip=f"10.1.0.{number}",
        rate_to_guest="50mbit" if role == "tenant-vm" else None,
        rate_from_guest="20mbit" if role == "tenant-vm" else None,
    )
