"""What others may change on a host of one agent, and the state that it must have again."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from .lan import Lan

OF_A_TENANT = (
    "host ip link set {tap} nomaster",
    "host ip link set {tap} down",
    "host ip link set {tap} mtu 1300",
    "host ip link delete {tap}",
    "host bridge link set dev {tap} isolated on",
    "host bridge link set dev {tap} learning off",
    "host ip link set {bridge} down",
    "host ip link delete {bridge}",
    "host ip address add 10.99.0.1/24 dev {bridge}",
    "host ip link set {uplink} down",
    "host ip route delete {address}",
    "inside ip address flush dev {inner}",
    "inside ip neigh replace 10.1.0.2 lladdr 02:00:0a:01:00:4d dev {inner} nud permanent",
    "inside ip route delete default",
    "inside ip link set {plug} nomaster",
    "inside nft flush ruleset",
    "inside sysctl -qw net.ipv4.ip_forward=0",
    "the DHCP server KILL",
)
"""Changes of what one tenant alone uses: where, and the command."""

OF_THE_HOST = ("host nft flush ruleset", "host sysctl -qw net.ipv4.ip_forward=0")
"""Changes of what all tenants use."""


class Tenant:
    """A tenant's network "web" with the VNIC of a VM, and what others may change of it."""

    def __init__(self, lan: Lan, name: str) -> None:
        self.lan, self.name = lan, name
        lan.snnet(f"network create web --subnet 10.1.0.0/24 --tenant {name}")
        lan.snnet(f"vnic create v1 --network web --tenant {name}")
        self.netns: str = lan.json(f"network show web --tenant {name}")["netns"]

    def container(self, name: str) -> str:
        """A container: its namespace."""
        self.lan.snnet(f"vnic create {name} --network web --role container --tenant {self.name}")
        netns = self.lan.namespace(name)
        self.lan.snnet(f"vnic attach {name} --netns {netns} --tenant {self.name}")
        return netns

    def names(self) -> dict[str, str]:
        """The names in the commands above."""
        tap = self.lan.json(f"vnic show v1 --tenant {self.name}")["link_name"]
        inner = self._shown(self.netns, "link show type bridge")["ifname"]
        address = self._shown(self.netns, "address show dev eth0")["addr_info"][0]["local"]
        return {
            "tap": tap,
            "bridge": self._shown(self.lan.host, f"link show dev {tap}")["master"],
            "inner": inner,
            "plug": self._shown(self.netns, f"link show master {inner}")["ifname"],
            "address": address,
            "uplink": self._shown(self.lan.host, f"route show {address}")["dev"],
        }

    def _shown(self, netns: str, what: str) -> dict[str, Any]:
        """The only object that ip(8) shows."""
        (found,) = json.loads(self.lan.inside(netns, f"ip -json {what}"))
        assert isinstance(found, dict)
        return found

    def breaks(self, breakage: str) -> None:
        """Change something, as another program would."""
        where, _, command = breakage.format_map(self.names()).partition(" ")
        if where == "the":
            for server in self._servers():
                self.lan.inside(self.lan.host, f"kill -KILL {server}")
        else:
            self.lan.inside(self.lan.host if where == "host" else self.netns, command)

    def _servers(self) -> list[str]:
        run, host = self.lan.inside, self.lan.host
        pids = run(host, f"ip netns pids {self.netns}").split()
        names = {pid: run(host, f"cat /proc/{pid}/comm", check=False) for pid in pids}
        return [pid for pid, name in names.items() if name == "dnsmasq\n"]

    def settled(self) -> list[str]:
        """The state when it changes no more: addresses of IPv6, for one, come later."""
        state: list[str] = []
        while (now := self.state()) != state:
            state = now
            time.sleep(2)
        return state

    def state(self) -> list[str]:
        """The host and the concentrator as text, without numbers that the kernel gives."""
        lines = [f"{len(self._servers())} servers"]
        for netns in (self.lan.host, self.netns):
            run = self.lan.inside
            for link in json.loads(run(netns, "ip -json address")):
                flags, master = "UP" in link["flags"], link.get("master")
                addresses = [address["local"] for address in link["addr_info"]]
                lines.append(f"{link['ifname']} {link['mtu']} {master} {flags} {addresses}")
            # Without numbers, and without the peer, which is a name or a number.
            ports = run(netns, "bridge -d link show")
            lines += re.sub(r"^\d+: (\S+?)(@\S+)?:", r"\1", ports, flags=re.MULTILINE).split("\n")
            for command in (
                "ip route",
                "ip neigh show nud permanent",
                "sysctl net.ipv4.ip_forward",
            ):
                lines += run(netns, command).split("\n")
            # Word by word: the elements of a set have no order, and some are learned again.
            lines += re.findall(r"[^\s{},]+", run(netns, "nft -s list ruleset"))
        return sorted({line.strip() for line in lines})
