"""The VNICs of a namespace, by the aliases of its links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from snnet.contract import IPAddress, Link, Noun
from snnet.contract.addresses import IPV6_MTU_MIN, mac_of
from snnet.core import identity as ids
from snnet.core.addressing import Addresses, Networks, read_addresses, read_networks
from snnet.core.vnics import gateways_of


@dataclass(frozen=True, slots=True)
class Vnic:
    """A guest's place on a host, from the alias of its link.

    There may be thousands, of which a question is about two: addresses are read when they are
    asked for.  These raise ``InvalidRequest`` or ValueError if the alias is damaged.
    """

    station: str
    link_name: str
    tenant: str
    name: str
    addresses: tuple[str, ...]
    networks: str
    routed: bool
    own_mac: str
    mtu: int

    def has(self, address: IPAddress) -> bool:
        """Whether this is an address of the guest."""
        return str(address) in self.addresses

    @property
    def ips(self) -> Addresses:
        return read_addresses(",".join(self.addresses))

    @property
    def subnets(self) -> Networks:
        return read_networks(self.networks)

    @property
    def gateways(self) -> Addresses:
        versions = {ip.version for ip in self.ips}
        found = gateways_of(self.subnets, routed=self.routed)
        return tuple(gateway for gateway in found if gateway.version in versions)

    @property
    def mac(self) -> str:
        return self.own_mac or mac_of(self.ips[0])

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"


def vnics_of(station: str, nouns: Iterable[Noun]) -> Iterator[Vnic]:
    """Yield the VNICs of a namespace with these nouns; ``station`` is its name in the fabric."""
    links = [
        (noun, fields)
        for noun in nouns
        if isinstance(noun, Link) and ids.grouped(noun)
        if (fields := ids.decode(noun.alias)) is not None
    ]
    subnets = {
        (fields[ids.TENANT], fields[ids.SUBNET]): fields[ids.NETWORK]
        for _, fields in links
        if {ids.TENANT, ids.SUBNET, ids.NETWORK} <= fields.keys()
    }
    for link, fields in links:
        subnet = (fields.get(ids.TENANT, ""), fields.get(ids.SUBNET, ""))
        if fields.get(ids.KIND) in (ids.VM, ids.CONTAINER) and subnet in subnets:
            yield Vnic(
                station=station,
                link_name=link.name,
                tenant=subnet[0],
                name=fields.get(ids.VNIC, ""),
                addresses=tuple(fields.get(ids.ADDRESS, "").split(",")),
                networks=subnets[subnet],
                routed=link.master is None,
                own_mac=fields.get(ids.MAC, ""),
                # With IPv6, what the guest has is no less than that, whatever its link has.
                mtu=max(link.mtu or 0, IPV6_MTU_MIN if ":" in fields.get(ids.ADDRESS, "") else 0),
            )
