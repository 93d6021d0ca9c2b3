"""Addresses: MACs and ports derived from them, and which networks can be subnets."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from snnet.config import Address, check_address
from snnet.contract import InvalidRequest, IPNetwork
from snnet.contract.addresses import mac_of

PREFIX_MIN, PREFIX_MAX = 16, 29
"""The prefix lengths of subnets: there is room for guests, and DHCP can serve them."""


def mac_for(ip: Address) -> str:
    """Return the default MAC of a guest with this IPv4 address.

    It is ``02:00`` (locally administered) and the four bytes of the address.
    """
    return mac_of(check_ipv4(ip, "ip"))


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
    raise InvalidRequest(f"{address} is not IPv4: tenants have IPv4 only", field=field)


def check_unicast(value: object, field: str) -> IPv4Address:
    """Check an IPv4 address that a host can have."""
    address = check_ipv4(value, field)
    if address.packed[0] in (0, 127) or address.packed[0] >= 224:
        raise InvalidRequest(f"{address} is not the unicast address of a host", field=field)
    return address


@lru_cache(maxsize=1024)
def check_subnet(network: IPNetwork, field: str = "subnet") -> IPv4Network:
    """Check a network that can be a tenant's subnet: IPv4, unicast, /29 to /16."""
    if not isinstance(network, IPv4Network):
        raise InvalidRequest(f"{network} is not IPv4: tenants have IPv4 only", field=field)
    if not PREFIX_MIN <= network.prefixlen <= PREFIX_MAX:
        size = "small" if network.prefixlen > PREFIX_MAX else "large"
        raise InvalidRequest(
            f"{network} is too {size}: give /{PREFIX_MAX} to /{PREFIX_MIN}", field=field
        )
    first = network.network_address
    if (
        first.is_multicast
        or first.is_loopback
        or first.is_link_local
        or first.packed[0] in (0, 255)
    ):
        raise InvalidRequest(f"{network} has no unicast addresses of hosts", field=field)
    if first.packed[0] >= 240:
        raise InvalidRequest(f"{network} is reserved (RFC 1112, section 4)", field=field)
    return network


def check_guest(address: IPv4Address, subnet: IPv4Network, field: str = "ip") -> IPv4Address:
    """Check an address that a guest of the subnet can have."""
    if address not in subnet:
        raise InvalidRequest(f"{address} is outside {subnet}", field=field)
    offset = int(address) - int(subnet.network_address)
    what = {
        0: "the network address",
        1: "the gateway",
        subnet.num_addresses - 1: "the broadcast address",
    }.get(offset)
    if what is not None:
        raise InvalidRequest(f"{address} is {what} of {subnet}", field=field)
    return address
