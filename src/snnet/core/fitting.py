"""What a concentrator's rules and mesh have to fit, and what comes along with a rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_network
from typing import Protocol

from snnet.contract import (
    Address,
    Conflict,
    ExternalForward,
    InvalidRequest,
    IPAddress,
    IPNetwork,
    Key,
    Noun,
    PolicyRule,
    PortForward,
    PublicIp,
    Route,
)
from snnet.contract.errors import shown
from snnet.contract.network import MAIN_TABLE, OWN_TABLES, SNNET_PROTOCOL

from .addressing import Networks, alone, check_guest, written
from .identity import hash_number
from .mesh import Mesh
from .rules import Rule
from .site import Site
from .subnets import CnciSubnet

_FIRST = 20000
"""Priority of the rules: after that of the local table (0), before the main one's (32766)."""


class _Known(Protocol):
    """What is asked of a concentrator's records."""

    site: Site
    subnets: dict[Networks, CnciSubnet]
    rules: dict[Key, Rule]
    mesh: Mesh | None

    def subnet_of(self, address: IPAddress) -> CnciSubnet | None: ...

    def subnet_on(self, bridge: str) -> CnciSubnet | None: ...


def device_addresses(
    nouns: Iterable[Noun], publics: Collection[IPAddress]
) -> dict[str, tuple[IPAddress, ...]]:
    """The addresses of each link by which guests reach what it forwards."""
    addresses: dict[str, tuple[IPAddress, ...]] = {}
    for noun in nouns:
        if not isinstance(noun, Address):
            continue
        ip = noun.address.ip
        if ip not in publics:
            addresses[noun.link] = (*addresses.get(noun.link, ()), ip)
    return addresses


def with_addresses(rule: Noun) -> Iterator[Noun]:
    """A rule, and what comes along with a public IP.

    That is its address on the device and, with a gateway, a routing table of its own for
    packets with either address: what has no better route than the default one goes by it.
    Of IPv6 the address is deprecated, or other guests could be masqueraded with it: IPv6
    takes the address most like the destination (RFC 6724, 5, rule 8), and IPv4 the first one.
    """
    if isinstance(rule, PublicIp):
        deprecated = rule.public.version == 6
        yield Address(link=rule.device, address=alone(rule.public), deprecated=deprecated)
        yield from _by_gateway(rule)
    yield rule


def _by_gateway(rule: PublicIp) -> Iterator[Noun]:
    if rule.gateway is None:
        return
    table = OWN_TABLES[hash_number(f"{rule.owner} {rule.public}") % len(OWN_TABLES)]
    everywhere = ip_network("0.0.0.0/0" if rule.gateway.version == 4 else "::/0")
    yield Route(
        destination=everywhere, link=rule.device, gateway=rule.gateway, onlink=True,
        protocol=SNNET_PROTOCOL, table=table,
    )  # fmt: skip
    for source in map(ip_network, (rule.internal, rule.public)):
        yield PolicyRule(source=source, table=MAIN_TABLE, priority=_FIRST, specific=True)
        yield PolicyRule(source=source, table=table, priority=_FIRST + 1)


def check_fits(rule: Rule, records: _Known) -> None:
    """InvalidRequest where a rule is about no bridge or no guest of the concentrator."""
    match rule:
        case ExternalForward(bridge=bridge):
            if records.subnet_on(bridge) is None:
                raise InvalidRequest(
                    f"{shown(bridge)} is not a bridge of this concentrator", field="bridge"
                )
        case PortForward(target=target, address=address):
            _check_target(target, records)
            if address is not None:
                _check_own(address, records)
        case PublicIp(internal=address, public=public):
            if public == records.site.ip or records.subnet_of(public):
                raise InvalidRequest(
                    f"{public} is this concentrator's own, or in one of its subnets",
                    field="address",
                )
            for network in records.mesh.subnets() if records.mesh else ():
                if public in network:
                    raise Conflict(f"{public} is in {network}, which a peer of the mesh has")
            for end in _ends(records):
                if public == end:
                    raise Conflict(f"{public} is how another node is reached: its tunnel would end")
            _check_target(address, records)


def _ends(records: _Known) -> Iterator[IPAddress]:
    """Yield the addresses of other nodes that tunnels lead to, and those of the mesh."""
    for subnet in records.subnets.values():
        yield from subnet.tunnels
    if records.mesh is not None:
        yield from records.mesh.addresses()


def guests_by_public(rules: Iterable[Noun]) -> dict[IPAddress, str]:
    """The public addresses among the rules, each with the guest that it leads to."""
    return {rule.public: str(rule.internal) for rule in rules if isinstance(rule, PublicIp)}


def check_unmeshed(mesh: Mesh | None, networks: Iterable[IPNetwork]) -> None:
    """Conflict where one of the networks has an address that members of the mesh have there."""
    for network in networks if mesh else ():
        for member in mesh.members() if mesh else ():
            if member in network:
                raise Conflict(f"{network} holds {member}, the tunnel address of a mesh's member")


def _check_target(address: IPAddress, records: _Known) -> None:
    subnet = records.subnet_of(address)
    if subnet is None:
        raise InvalidRequest(f"{address} is in no subnet of this concentrator", field="to")
    check_guest(address, subnet.networks, "to")


def _check_own(address: IPAddress, records: _Known) -> None:
    """InvalidRequest where packets to an address never reach a forward of its ports."""
    if subnet := records.subnet_of(address):
        raise InvalidRequest(
            f"{address} is in subnet {written(subnet.networks)} of this concentrator: give an "
            "address of an external device",
            field="address",
        )
    for rule in records.rules.values():
        if isinstance(rule, PublicIp) and rule.public == address:
            raise InvalidRequest(
                f"{address} is the public address of {rule.internal}, which gets all its packets",
                field="address",
            )


def check_mesh(mesh: Mesh, networks: Iterable[IPNetwork]) -> None:
    """Conflict where a peer's subnet overlaps one of these networks."""
    for remote in mesh.subnets():
        for local in networks:
            if local.overlaps(remote):
                raise Conflict(f"{remote} of a peer overlaps {local} of this concentrator")
