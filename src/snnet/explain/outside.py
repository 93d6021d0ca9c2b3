"""What is between hosts and beyond them, as far as it has to be there for a question.

It is taken to carry every packet: to have every address that no host has, to send answers
back, and to be the router that the hosts' routes name.  One host has a cable to it.  Several
are on one wire, and find each other by ARP or by that router.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_interface, ip_network

from snnet.backends.fake import Fabric, FakeKernel
from snnet.backends.fake.fib import Hop
from snnet.backends.fake.loading import load
from snnet.contract import Address, InvalidRequest, IPAddress, IPNetwork, Link, Noun, Other, Veth
from snnet.contract.network import MAIN_TABLE
from snnet.core import identity as ids

BEYOND = "beyond this host"
"""The station that stands for everything else."""

BETWEEN = "beyond these hosts"
"""Its name where there are several hosts."""

_NIC, _MAC = "eth0", "0a:00:00:00:00:01"
_FORWARDS = {f"net.ipv4.conf.{_NIC}.forwarding": "1", "net.ipv6.conf.all.forwarding": "1"}
_EVERYWHERE: tuple[IPNetwork, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Outside:
    """What is beyond ``hosts``; ``silent`` are hosts of which only the addresses are known.

    ``mine`` are the VNICs, which are no uplinks.  ``remotes`` are the far ends of each host's
    tunnels; ``inside`` are the addresses in namespaces of the hosts.
    """

    def __init__(
        self,
        fabric: Fabric,
        hosts: Mapping[str, FakeKernel],
        mine: Collection[tuple[str, str]],
        remotes: Mapping[str, Sequence[IPAddress]],
        silent: Mapping[str, Sequence[IPAddress]],
        inside: Collection[IPAddress],
    ) -> None:
        self.hosts, self.silent = hosts, silent
        self.name = BEYOND if len(hosts) == 1 and not silent else BETWEEN
        self._fabric = fabric
        self._mine, self._remotes, self._inside = mine, remotes, set(inside)
        self._plugged: dict[tuple[str, str], Link] = {}
        self._there: FakeKernel | None = None
        self._silent_there: set[str] = set()

    def surround(self, addresses: Sequence[IPAddress], towards: IPAddress) -> FakeKernel | None:
        """Have what is beyond the hosts, with these addresses and a way ``towards`` one.

        What was there before is replaced.  None if no host has a route there.
        """
        if self._there is not None and self.name != BEYOND:
            self._fabric.unplug(self._there, _NIC)
        self._fabric.leave(self.name)
        self._there = None
        if self.name == BEYOND:
            return self._beyond_one(addresses, towards)
        return self._between(addresses, towards)

    def _beyond_one(self, addresses: Sequence[IPAddress], towards: IPAddress) -> FakeKernel | None:
        """Beyond a single host: whatever it does not have itself is sent back to it."""
        ((host, root),) = self.hosts.items()
        way = self._way(host, towards)
        if way is None:
            return None
        hop, uplink = way
        gateway = [hop.gateway] if hop.gateway else []
        own = [one.address for v in (4, 6) for one in root.state.addresses(hop.link, v)]
        routes: list[tuple[IPNetwork, Hop]] = [(one.network, Hop(_NIC)) for one in own]
        for everywhere in _EVERYWHERE:
            via = next((one.ip for one in own if one.version == everywhere.version), None)
            routes.append((everywhere, Hop(_NIC, via)))
        wanted = [*addresses, *gateway, *self._remotes[host]]
        there = self._there = self._made(self.name, _MAC, wanted, uplink.mtu, routes)
        self._fabric.wire((root, uplink.name), (there, _NIC))
        return there

    def _between(self, addresses: Sequence[IPAddress], towards: IPAddress) -> FakeKernel | None:
        """Between several hosts: a wire, with the routers that their routes name."""
        known = {ip for root in self.hosts.values() for ip in root.state.local}
        known |= {ip for found in self.silent.values() for ip in found}
        taken = known | self._inside
        wanted = list(addresses)
        reached = False
        for host in self.hosts:
            others = dict.fromkeys([towards, *addresses, *self._remotes[host], *_probes(known)])
            for address in others:
                if (way := self._way(host, address)) is None:
                    continue
                hop, uplink = way
                reached |= address == towards
                self._plugged[host, uplink.name] = uplink
                wanted += [hop.gateway] if hop.gateway else []
            wanted += self._remotes[host]
        for host, name in self._plugged:
            with suppress(InvalidRequest):  # it has its other end on the host itself
                self._fabric.plug(self.hosts[host], name)
        mtu = max((link.mtu or 0 for link in self._plugged.values()), default=1500)
        routes = [(everywhere, Hop(_NIC)) for everywhere in _EVERYWHERE]
        for number, (name, found) in enumerate(self.silent.items()):
            if name not in self._silent_there:
                self._silent_there.add(name)
                mac = f"0a:00:00:01:{number >> 8:02x}:{number & 255:02x}"
                self._fabric.plug(self._made(name, mac, found, mtu, routes), _NIC)
        left = [one for one in wanted if one not in taken]
        there = self._there = self._made(self.name, _MAC, left, mtu, routes, _FORWARDS)
        self._fabric.plug(there, _NIC)
        return there if reached else None

    def _made(
        self,
        name: str,
        mac: str,
        addresses: Iterable[IPAddress],
        mtu: int | None,
        routes: Iterable[tuple[IPNetwork, Hop]],
        sysctls: Mapping[str, str] | None = None,
    ) -> FakeKernel:
        """Return a new host of the fabric that listens on every port."""
        nouns: list[Noun] = [Other(name=_NIC, other_kind="physical", mac=mac, mtu=mtu, index=2)]
        for address in dict.fromkeys(addresses):
            whole = ip_interface((address, address.max_prefixlen))
            nouns.append(Address(link=_NIC, address=whole))
        kernel = FakeKernel(name)
        load(kernel, nouns, [(MAIN_TABLE, *route) for route in routes], sysctls or {})
        self._fabric.join(name, kernel)
        for protocol in ("tcp", "udp", "sctp"):
            self._fabric.listen(kernel, protocol)
        return kernel

    def _way(self, host: str, towards: IPAddress) -> tuple[Hop, Link] | None:
        """Return the host's route to an address, and the uplink it leads out by, if it does."""
        hop = self.hosts[host].state.fib.find(towards)
        uplink = self._uplink(host, hop.link) if hop is not None and not hop.refuses else None
        return (hop, uplink) if hop is not None and uplink is not None else None

    def _uplink(self, host: str, name: str) -> Link | None:
        """Return the link that leads out: the one named, or the port of a bridge."""
        state = self.hosts[host].state
        for port in state.ports.get(name, [name]):
            link = state.link(port)
            foreign = isinstance(link, (Other, Veth)) and not ids.owner_of(link)
            ours = (host, port) in self._mine or port == "lo" or port in state.far
            if foreign and not ours:
                return link
        return None


def _probes(known: Iterable[IPAddress]) -> Iterator[IPAddress]:
    """Yield the addresses of hosts that others may send to."""
    return (ip for ip in known if not ip.is_loopback and not ip.is_link_local)
