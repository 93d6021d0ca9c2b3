"""Addresses: MACs and ports derived from them, and which networks can be subnets."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_interface

from snnet.checks import Address, check_address, check_families, check_mac, check_network
from snnet.contract import InvalidRequest, IPAddress, IPInterface, IPNetwork
from snnet.contract.addresses import gateway_of, mac_of
from snnet.contract.dhcp import PREFIXES, is_guest_address

Networks = tuple[IPNetwork, ...]
"""The networks of one subnet: one, or one of each family with IPv4 first."""

Addresses = tuple[IPAddress, ...]
"""The addresses of one guest: one, or one of each family with IPv4 first."""

EXTRA_MAX = 10_000
"""Addresses and networks that a guest may use beside its own: each is an element in the kernel."""


def mac_for(ip: Address | tuple[Address, ...]) -> str:
    """Return the default MAC of a guest with this address, or with one of each family.

    With an IPv4 address it is ``02:00`` (locally administered) and the four bytes of that.
    With IPv6 alone it is ``02`` and the first five bytes of the SHA-256 of the address.
    """
    return mac_of(check_families(ip, "ip", check_address)[0])


def check_guest_mac(value: object, field: str = "mac") -> str:
    """Check a MAC that a guest can have, and return it in lower case."""
    mac = check_mac(value, field)
    if mac.startswith("fe"):
        raise InvalidRequest(
            f"{mac} is reserved: MACs that begin with fe belong to host ends of VNICs", field=field
        )
    return mac


def debug_ssh_port(ip: Address) -> int:
    """Return the port on the concentrator that leads to the SSH port of this guest.

    It is 33000 + third octet * 256 + fourth octet.  Raises InvalidRequest above 65535.
    """
    address = check_ipv4(ip, "ip")
    _, _, third, fourth = address.packed
    port = 33000 + third * 256 + fourth
    if port > 65535:
        raise InvalidRequest(
            f"{address} would need port {port}: use an address up to x.x.127.23",
            field="ip",
        )
    return port


def check_ipv4(value: object, field: str) -> IPv4Address:
    """Check an IPv4 address."""
    address = check_address(value, field)
    if isinstance(address, IPv4Address):
        return address
    raise InvalidRequest(f"{address} is not IPv4", field=field)


def check_unicast(value: object, field: str) -> IPAddress:
    """Check an address that a host can have, and that others reach it by."""
    address = check_address(value, field)
    first = address.packed[0]
    if first == 0 or (first in (127, *range(224, 256)) if address.version == 4 else first >= 0xFE):
        raise InvalidRequest(f"{address} is not the unicast address of a host", field=field)
    return address


def check_public(value: object, field: str) -> IPAddress:
    """Check an address by which others can reach a guest from outside."""
    address = check_unicast(value, field)
    if address.is_link_local:
        raise InvalidRequest(f"{address} is known on one link alone, not outside", field=field)
    return address


def check_end(address: IPAddress, network: IPNetwork, field: str) -> IPAddress:
    """Check that a host may have an address of its network: neither the first one nor the last.

    The first of IPv6 is that of any router (RFC 4291, section 2.6.1), and the last has no other
    meaning.  Networks of one or two addresses have hosts alone (RFC 3021, RFC 6164).
    """
    if network.prefixlen < network.max_prefixlen - 1:
        last = network.broadcast_address if network.version == 4 else None
        for end, what in ((network.network_address, "network"), (last, "broadcast")):
            if address == end:
                raise InvalidRequest(
                    f"{address} is the {what} address of {network}: give that of a host",
                    field=field,
                )
    return address


def check_subnets(value: object, field: str = "subnet") -> Networks:
    """Check the networks of a tenant's subnet: one, or one of each family."""
    if type(value) is IPv4Network:  # the most frequent case
        return (check_subnet(value, field),)
    return tuple(check_subnet(one, field) for one in check_families(value, field, check_network))


def check_subnet(network: IPNetwork, field: str = "subnet") -> IPNetwork:
    """Check a network that can be a tenant's: unicast, of a length that ``PREFIXES`` allows."""
    return _checked(network.version, int(network.network_address), network.prefixlen, field)


@lru_cache(maxsize=1024)
def alone(address: IPAddress) -> IPInterface:
    """Return the address as a link has it that has nothing else of its network."""
    return ip_interface((address.packed, address.max_prefixlen))


@lru_cache(maxsize=1024)
def _checked(version: int, number: int, length: int, field: str) -> IPNetwork:
    """Check a network; all VNICs of a subnet get the same object, so that they compare fast.

    It is not the key itself, since Python takes long for the hash of a network.
    """
    network: IPNetwork = (IPv4Network if version == 4 else IPv6Network)((number, length))
    shortest, longest = PREFIXES[network.version]
    if not shortest <= network.prefixlen <= longest:
        size = "small" if network.prefixlen > longest else "large"
        raise InvalidRequest(
            f"{network} is too {size}: give /{longest} to /{shortest}", field=field
        )
    first = network.network_address
    if first.is_multicast or first.is_loopback or first.is_link_local or first.packed[0] == 0:
        raise InvalidRequest(f"{network} has no unicast addresses of hosts", field=field)
    if network.version == 4 and first.packed[0] >= 240:
        if first.packed[0] == 255:
            raise InvalidRequest(f"{network} has no unicast addresses of hosts", field=field)
        raise InvalidRequest(f"{network} is reserved (RFC 1112, section 4)", field=field)
    return network


def check_guests(addresses: Addresses, subnets: Networks, field: str = "ip") -> Addresses:
    """Check addresses that one guest of the subnet can have, each in its family's network."""
    for address in addresses:
        check_guest(address, subnets, field)
    return addresses


def check_guest(address: IPAddress, subnets: Networks, field: str = "ip") -> IPAddress:
    """Check an address that a guest of the subnet can have."""
    subnet = subnets[0] if len(subnets) == 1 else subnets[address.version == 6]
    if is_guest_address(address, subnet):
        return address
    if address not in subnet:
        raise InvalidRequest(f"{address} is outside {written(subnets)}", field=field)
    offset = int(address) - int(subnet.network_address)
    what = {0: "the network address", 1: "the gateway"}.get(offset, "the broadcast address")
    raise InvalidRequest(f"{address} is {what} of {subnet}", field=field)


def overlapping(some: Iterable[IPNetwork], others: Iterable[IPNetwork]) -> IPNetwork | None:
    """Return the first of ``others`` that shares addresses with one of ``some``."""
    some = tuple(some)
    return next((one for one in others if any(one.overlaps(other) for other in some)), None)


def check_extra(
    given: Iterable[IPAddress | IPNetwork], subnets: Networks, field: str = "extra_addresses"
) -> tuple[Addresses, Networks]:
    """Check what a guest may use beside its own addresses; return addresses and networks.

    They need not be in the subnet: containers within a guest may have networks of their own.
    Nobody may pose as the gateway.  Those next to each other become one network; raise
    InvalidRequest for more than ``EXTRA_MAX`` after that.
    """
    blocks: list[IPNetwork] = []
    for number, block in enumerate(given):
        network = block if isinstance(block, (IPv4Network, IPv6Network)) else _alone(block)
        _check_block(network, subnets, f"{field}[{number}]")
        blocks.append(network)
    merged: list[IPNetwork] = [
        *collapse_addresses(one for one in blocks if isinstance(one, IPv4Network)),
        *collapse_addresses(one for one in blocks if isinstance(one, IPv6Network)),
    ]
    if len(merged) > EXTRA_MAX:
        raise InvalidRequest(
            f"{len(merged)} addresses and networks are too many, the most is {EXTRA_MAX}: name "
            "networks that contain them, or set anti_spoofing=False",
            field=field,
        )
    alone = tuple(one[0] for one in merged if one.prefixlen == one.max_prefixlen)
    return alone, tuple(one for one in merged if one.prefixlen < one.max_prefixlen)


def _alone(address: IPAddress) -> IPNetwork:
    return IPv4Network(address) if address.version == 4 else IPv6Network(address)


_NOT_UNICAST: tuple[IPNetwork, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/3"),
    IPv6Network("::/127"),
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("fe80::/10"),
    IPv6Network("ff00::/8"),
)
"""No sender's (RFC 1122, 3.2.1.3; RFC 4291, 2.5.5.2), of one link, for groups, or reserved
(RFC 6890)."""


def _check_block(network: IPNetwork, subnets: Networks, field: str) -> None:
    if other := overlapping([network], _of(network.version, _NOT_UNICAST)):
        raise InvalidRequest(
            f"{_said(network)} has addresses of {other}, which no guest can have: name smaller "
            "networks, or set anti_spoofing=False",
            field=field,
        )
    for subnet in _of(network.version, subnets):
        if gateway_of(subnet) in network:
            raise InvalidRequest(
                f"{_said(network)} has the gateway {gateway_of(subnet)} of {subnet}: leave it out",
                field=field,
            )


def _of(version: int, networks: Iterable[IPNetwork]) -> list[IPNetwork]:
    return [network for network in networks if network.version == version]


def _said(network: IPNetwork) -> str:
    return str(network[0] if network.prefixlen == network.max_prefixlen else network)


def written(values: Networks | Addresses) -> str:
    """Return the values of one thing as text: in aliases, in names and in messages."""
    return ",".join(map(str, values))


def read_networks(text: str) -> Networks:
    """Return the networks that ``written`` wrote; ValueError or InvalidRequest if damaged."""
    return check_subnets(tuple(text.split(",")))


def read_addresses(text: str) -> Addresses:
    """Return the addresses that ``written`` wrote; ValueError or InvalidRequest if damaged."""
    return check_families(tuple(text.split(",")) if "," in text else text, "ip", check_address)
