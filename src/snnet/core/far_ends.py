"""The far ends of tunnels: which addresses other nodes can have.

All VNICs of a subnet get the same object for one address, so that they compare fast.  Addresses
are no keys here, since Python takes long for their hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

from snnet.checks import check_address
from snnet.contract import Conflict, InvalidRequest, IPAddress, IPInterface

from .addressing import check_end, check_unicast

_FAMILIES: dict[int, type[IPAddress]] = {4: IPv4Address, 6: IPv6Address}


def check_remote(remote: object, uplink: IPAddress, field: str) -> IPAddress:
    """Check the far end of a tunnel from ``uplink``: unicast, of the same family."""
    address = check_address(remote, field)
    return _far_end(address.version, int(address), uplink.version, int(uplink), field)


@lru_cache(maxsize=1024)
def _far_end(version: int, number: int, own_version: int, own: int, field: str) -> IPAddress:
    address, uplink = _FAMILIES[version](number), _FAMILIES[own_version](own)
    if address.version != uplink.version:
        raise InvalidRequest(
            f"{address} is IPv{address.version}, but this node's uplink {uplink} is not",
            field=field,
        )
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise InvalidRequest(f"{address} is not the unicast address of another node", field=field)
    if address.packed == b"\xff\xff\xff\xff":
        raise InvalidRequest(f"{address} is the broadcast address", field=field)
    return address


def check_member(remote: object, uplink: IPInterface, field: str) -> IPAddress:
    """Check an end of a tunnel: an address that a host can have, of the uplink's network or not."""
    address = check_address(remote, field)
    own, length = int(uplink), uplink.network.prefixlen
    return _host_end(address.version, int(address), uplink.version, own, length, field)


@lru_cache(maxsize=1024)
def _host_end(
    version: int, number: int, own_version: int, own: int, length: int, field: str
) -> IPAddress:
    address = _far_end(version, number, own_version, own, field)
    return check_end(check_unicast(address, field), ip_network((own, length), strict=False), field)


def check_other(remote: object, uplink: IPInterface, field: str) -> IPAddress:
    """Check the far end of a tunnel like ``check_member``; it is not this node itself."""
    address = check_address(remote, field)
    own, length = int(uplink), uplink.network.prefixlen
    return _other_end(address.version, int(address), uplink.version, own, length, field)


@lru_cache(maxsize=1024)
def _other_end(
    version: int, number: int, own_version: int, own: int, length: int, field: str
) -> IPAddress:
    address = _host_end(version, number, own_version, own, length, field)
    if number == own:
        raise InvalidRequest(
            f"{address} is this node's own address: a tunnel needs that of another node",
            field=field,
        )
    return address


def check_not_public(ends: Iterable[IPAddress], publics: Mapping[IPAddress, str]) -> None:
    """Raise Conflict where a far end is a public address here, which packets to it never leave.

    ``publics`` has what each one leads to.
    """
    for end in ends:
        if end in publics:
            raise Conflict(
                f"{end} is a public address of {publics[end]}, and cannot be the far end of a "
                "tunnel as well: take it from there first, or give the other node another address"
            )
