"""What a concentrator's rules and mesh have to fit, and what comes along with a rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

from snnet.contract import (
    Address,
    Conflict,
    ExternalForward,
    InvalidRequest,
    Noun,
    PortForward,
    PublicIp,
)

from .addressing import check_guest
from .mesh import Mesh
from .rules import Rule

if TYPE_CHECKING:
    from .cnci_records import CnciRecords


def device_addresses(
    nouns: Iterable[Noun], publics: Collection[IPv4Address]
) -> dict[str, tuple[IPv4Address, ...]]:
    """The addresses of each link by which guests reach what it forwards."""
    addresses: dict[str, tuple[IPv4Address, ...]] = {}
    for noun in nouns:
        if not isinstance(noun, Address):
            continue
        ip = noun.address.ip
        if isinstance(ip, IPv4Address) and ip not in publics:
            addresses[noun.link] = (*addresses.get(noun.link, ()), ip)
    return addresses


def with_addresses(rule: Noun) -> Iterator[Noun]:
    """A rule, and the address that a public IP puts on its device."""
    if isinstance(rule, PublicIp):
        yield Address(link=rule.device, address=IPv4Interface((rule.public, 32)))
    yield rule


def check_fits(rule: Rule, records: CnciRecords) -> None:
    """InvalidRequest where a rule is about no bridge or no guest of the concentrator."""
    match rule:
        case ExternalForward(bridge=bridge):
            if all(subnet.bridge.name != bridge for subnet in records.subnets.values()):
                raise InvalidRequest(
                    f"{bridge!r} is not a bridge of this concentrator", field="bridge"
                )
        case PortForward(target=address):
            _check_target(address, records)
        case PublicIp(internal=address, public=public):
            if public == records.site.ip or records.subnet_of(public):
                raise InvalidRequest(
                    f"{public} is this concentrator's own, or in one of its subnets",
                    field="address",
                )
            _check_target(address, records)


def _check_target(address: IPv4Address, records: CnciRecords) -> None:
    subnet = records.subnet_of(address)
    if subnet is None:
        raise InvalidRequest(f"{address} is in no subnet of this concentrator", field="to")
    check_guest(address, subnet.network, "to")


def check_mesh(mesh: Mesh, networks: Iterable[IPv4Network]) -> None:
    """Conflict where a peer's subnet overlaps one of these networks."""
    for remote in mesh.subnets():
        for local in networks:
            if local.overlaps(remote):
                raise Conflict(f"{remote} of a peer overlaps {local} of this concentrator")
