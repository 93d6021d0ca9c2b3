"""Real hosts in namespaces: nodes of snnet, guests, and somebody outside."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_interface

import snnet
from snnet import contract
from snnet.backends.netlink import NetlinkBackend
from snnet.explain.reading import take
from snnet.explain.snapshot import Snapshot
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace, end_processes
from snnet.system.netns import in_netns
from snnet.system.process import run

HOST, OUTSIDE = ("192.0.2.11", "2001:db8::11"), ("192.0.2.99", "2001:db8::99")
SUBNETS: dict[str, tuple[str, str]] = {
    "web": ("10.1.0.0/24", "fd00:1::/64"),
    "db": ("10.2.0.0/24", "fd00:2::/64"),
}
OPEN, FORWARDED = 7000, 33022
"""A port on which everybody listens, and one of the host that leads to a guest's."""


@dataclass(frozen=True)
class Guest:
    """A container behind a VNIC of the host."""

    name: str
    tenant: str
    link: str
    addresses: tuple[str, ...]
    space: Namespace


class Host:
    """A namespace with an uplink, a node of snnet, and guests in namespaces of their own."""

    def __init__(self, firewall: str) -> None:
        self.firewall = firewall
        # The machine has all names of namespaces once: those of concentrators begin here too.
        self.id = f"test-{uuid.uuid4().hex[:8]}"
        self.netns = f"snnet-{self.id}"
        self.guests: list[Guest] = []
        self._open = ExitStack()
        run(["ip", "netns", "add", self.netns])
        self._open.callback(run, ["ip", "netns", "delete", self.netns])
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        self.host = RealHost(self.netns, owner="cn:tester")
        self._open.callback(self.host.close)
        self.kernel = NetlinkBackend(self.host)
        self._open.callback(self.kernel.close)
        self._open.callback(self._remove_namespaces)
        self.outside = self.space("outside")
        self.ip(
            f"link add eth0 type veth peer name eth0 netns {self.outside.path}",
            "link set lo up", "link set eth0 up",
            *(f"address add {one} dev eth0 nodad" for one in (f"{HOST[0]}/24", f"{HOST[1]}/64")),
        )  # fmt: skip
        self.outside.ip(
            [
                "link set lo up", "link set eth0 up",
                f"address add {OUTSIDE[0]}/24 dev eth0",
                f"address add {OUTSIDE[1]}/64 dev eth0 nodad",
                f"route add 10.0.0.0/8 via {HOST[0]}",
                f"route add fd00::/16 via {HOST[1]}",
            ]
        )  # fmt: skip

    def node(self, config: snnet.NetworkConfig) -> snnet.ComputeNode:
        cn = snnet.ComputeNode(
            self.id, config, netns=self.netns, firewall=self.firewall, api_timeout=60.0
        )
        self._open.enter_context(cn)
        cn.init()
        return cn

    def concentrator(
        self, cn: snnet.ComputeNode, config: snnet.NetworkConfig, tenant: str, port: int
    ) -> None:
        """Have the concentrator of a tenant in a namespace, with NAT and a forward to its v9."""
        made = cn.set_concentrator(
            snnet.ConcentratorConfig(
                tenant_id=tenant,
                concentrator_id=f"c-{tenant}",
                subnets=[
                    snnet.LocalSubnet(subnet_id=name, subnet=cidrs, subnet_key=7 + number)
                    for number, (name, cidrs) in enumerate(SUBNETS.items())
                ],
                forwards=[snnet.HostForward(protocol="tcp", port=port)],
            )
        )
        cnci = snnet.Cnci(
            made.concentrator_id, config, tenant_id=tenant, netns=made.netns,
            firewall=self.firewall, api_timeout=60.0,
        )  # fmt: skip
        self._open.enter_context(cnci)
        self._open.callback(self._stop, cnci)
        cnci.init()
        result = cnci.reconcile(
            subnets=[
                snnet.Subnet(cidrs, 7 + number, link=made.links[name])
                for number, (name, cidrs) in enumerate(SUBNETS.items())
            ],
            nat=[made.uplink],
            exits=[(made.uplink, cidrs) for cidrs in SUBNETS.values()],
            forwards=[
                {
                    "protocol": "tcp", "device": made.uplink, "port": made.forwards[0].target_port,
                    "to": "10.1.0.9", "to_port": OPEN,
                }
            ],
        )  # fmt: skip
        assert not result.failed, result.failed

    @staticmethod
    def _stop(cnci: snnet.Cnci) -> None:
        with suppress(snnet.SnnetError):
            cnci.shutdown()

    def guest(self, cn: snnet.ComputeNode, cfg: snnet.VnicConfig) -> Guest:
        """Add a VNIC and a container on it."""
        vnic = cn.create_vnic(cfg).vnic
        space = self.space(f"{vnic.tenant_id}-{vnic.vnic_id}")
        self.ip(f"link set {vnic.peer_name} netns {space.path} name eth0 up")
        commands = ["link set lo up"]
        for ip in vnic.ips:
            networks = [one for one in vnic.subnets if one.version == ip.version]
            gateway = next(one for one in vnic.gateways if one.version == ip.version)
            inside = gateway in networks[0]
            length = networks[0].prefixlen if inside else ip.max_prefixlen
            commands.append(
                f"address add {ip_interface((ip, length))} dev eth0"
                + (" nodad" if ip.version == 6 else "")
            )
            onlink = "" if inside else " dev eth0 onlink"
            # By an advertisement there may be one already.
            commands.append(f"route replace default via {gateway}{onlink}")
        space.ip(commands)
        made = Guest(vnic.vnic_id, vnic.tenant_id, vnic.link_name, tuple(map(str, vnic.ips)), space)
        self.guests.append(made)
        return made

    def space(self, name: str) -> Namespace:
        space = Namespace(name)
        self._open.callback(space.close)
        self._open.callback(end_processes, [space])
        return space

    def ip(self, *commands: str) -> None:
        run(["ip", "-batch", "-"], input="\n".join(commands), netns=self.host.netns.fd)

    def run(self, *argv: str, text: str | None = None, space: str = "") -> str:
        """Run a program on the host, or in one of its namespaces."""
        if space:
            argv = ("ip", "netns", "exec", space, *argv)
        return run(list(argv), input=text, netns=self.host.netns.fd, timeout=30).stdout

    @property
    def spaces(self) -> list[str]:
        """The namespaces of its concentrators."""
        found = self.kernel.snapshot({contract.Namespace}).values()
        return [noun.name for noun in found if isinstance(noun, contract.Namespace)]

    def snapshot(self) -> Snapshot:
        """What ``snnet explain`` reads when it runs on this host."""
        return in_netns(self.host.netns.fd, take)

    def _remove_namespaces(self) -> None:
        for noun in self.kernel.snapshot({contract.Namespace}).values():
            self.kernel.apply([contract.Remove(noun)])

    def close(self) -> None:
        self._open.close()


def local(firewall: str) -> Host:
    """A host with two tenants that have the same addresses, and their concentrators."""
    host = Host(firewall)
    try:
        config = snnet.NetworkConfig(topology="local", compute_nets=["192.0.2.0/24"])
        cn = host.node(config)
        for tenant, port in (("acme", FORWARDED), ("globex", FORWARDED + 1)):
            host.concentrator(cn, config, tenant, port)
        for tenant, subnet, number in (
            ("acme", "web", 9), ("acme", "web", 10), ("acme", "db", 11), ("globex", "web", 9),
        ):  # fmt: skip
            cidrs = SUBNETS[subnet]
            host.guest(
                cn,
                snnet.VnicConfig(
                    role=snnet.VnicRole.TENANT_CONTAINER, vnic_id=f"v{number}",
                    instance_id=f"i{number}",
                    tenant_id=tenant, subnet_id=subnet, subnet=cidrs,
                    subnet_key=7 if subnet == "web" else 8,
                    ip=(f"{cidrs[0].split('.0/')[0]}.{number}", f"{cidrs[1][:-3]}{number}"),
                ),
            )  # fmt: skip
        return host
    except BaseException:
        host.close()
        raise


def routed(firewall: str) -> Host:
    """A host in routed mode, where tenants are kept apart by rules alone."""
    host = Host(firewall)
    try:
        cn = host.node(
            snnet.NetworkConfig(mode=snnet.NetworkMode.ROUTED, compute_nets=["192.0.2.0/24"])
        )
        for tenant, number in (("acme", 9), ("acme", 10), ("globex", 11)):
            subnet = ("10.1.0.0/24", "fd00:1::/64") if tenant == "acme" else (
                "10.2.0.0/24", "fd00:2::/64"
            )  # fmt: skip
            host.guest(
                cn,
                snnet.VnicConfig(
                    role=snnet.VnicRole.TENANT_CONTAINER, vnic_id=f"v{number}",
                    instance_id=f"i{number}",
                    tenant_id=tenant, subnet_id="web", subnet=subnet,
                    ip=(f"{subnet[0][:-4]}{number}", f"{subnet[1][:-3]}{number}"),
                ),
            )  # fmt: skip
        return host
    except BaseException:
        host.close()
        raise
