"""What a node rests on and did not make: compared with what it was at ``init()``.

Each difference is one line: what is, what it should be, and how to make it so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any, Self

from snnet.contract import Address, IPAddress, Link, Noun, Path, PortForward, PublicIp
from snnet.contract.network import DADFAILED, TENTATIVE, link_sysctl

from .rules import Rule
from .uplinks import Uplink

SOMEWHERE = Path(remote=ip_address("192.88.99.1"))
"""The way to an address that no network of a tenant or a data centre has (RFC 7526)."""

STRICT = 1
"""Value of ``rp_filter``: packets must come by the way that answers take (RFC 3704)."""


_ANEW = "start the node again (an agent does so by itself)"


@dataclass(frozen=True, slots=True)
class Seen:
    """The links and addresses of a host as they are now."""

    links: Mapping[str, Link]
    addresses: Sequence[Address]

    @classmethod
    def of(cls, nouns: Collection[Noun]) -> Self:
        """Those among the nouns."""
        return cls(
            {noun.name: noun for noun in nouns if isinstance(noun, Link)},
            [noun for noun in nouns if isinstance(noun, Address)],
        )

    def addresses_of(self, link: str) -> list[Address]:
        return [noun for noun in self.addresses if noun.link == link]


@dataclass(frozen=True, slots=True)
class Before:
    """What the process that set the node up found; others compare with it."""

    uplink: Uplink
    default_route: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"uplink": self.uplink.to_dict(), "default_route": self.default_route}

    @classmethod
    def from_dict(cls, data: Any) -> Self | None:
        """The same again; None if the data is of another version, or damaged."""
        try:
            uplink = {**data["uplink"], "address": ip_interface(data["uplink"]["address"])}
            return cls(Uplink(**uplink), bool(data["default_route"]))
        except (KeyError, TypeError, ValueError):
            return None


def about_uplink(uplink: Uplink, seen: Seen) -> Iterator[str]:
    """How the uplink differs from what the node found at ``init()``."""
    name, what = uplink.link_name, f"uplink {uplink.link_name}"
    link = seen.links.get(name)
    if link is None:
        other = next((one for one in seen.links.values() if one.index == uplink.index), None)
        if other is not None and uplink.index:
            yield (
                f"{what}: is called {other.name} -> should be {name}: ip link set {other.name} "
                f"name {name}, or {_ANEW}"
            )
        else:
            yield f"{what}: is gone -> should have {uplink.address}: bring it back"
        return
    if not link.up:
        yield f"{what}: is down -> should be up: ip link set {name} up"
    if (link.mtu or 1500) != uplink.mtu:
        yield (
            f"{what}: mtu is {link.mtu} -> should be {uplink.mtu}: ip link set {name} mtu "
            f"{uplink.mtu}, or {_ANEW}"
        )
    found = [noun for noun in seen.addresses_of(name) if noun.address.ip == uplink.ip]
    if not found:
        yield (
            f"{what}: has no address {uplink.ip} -> should have {uplink.address}: "
            f"ip address add {uplink.address} dev {name}, or {_ANEW}"
        )
    for flag in (TENTATIVE, DADFAILED):
        if any(flag in noun.flags for noun in found):
            yield f"{what}: {uplink.ip} is {flag} -> should be usable: look for another host's"


def about_devices(rules: Iterable[Rule], seen: Seen) -> Iterator[str]:
    """Devices of rules that are gone or down."""
    for device in devices_of(rules):
        link = seen.links.get(device)
        if link is None:
            yield f"device {device}: is gone -> should be there: rules of this node need it"
        elif not link.up:
            yield f"device {device}: is down -> should be up: ip link set {device} up"


def devices_of(rules: Iterable[Rule]) -> list[str]:
    """The devices of the rules, each once."""
    return list(dict.fromkeys(rule.device for rule in rules))


def ways_in(rules: Iterable[Rule]) -> list[str]:
    """The devices by which others open connections to guests."""
    return devices_of(rule for rule in rules if isinstance(rule, (PortForward, PublicIp)))


def rp_filters(device: str) -> tuple[str, str]:
    """The two parameters of which the greater one holds for the device."""
    return link_sysctl("ipv4.conf", "all", "rp_filter"), link_sysctl(
        "ipv4.conf", device, "rp_filter"
    )


def about_way(remote: IPAddress, way: Path | None) -> Iterator[str]:
    """Whether the host has a way to the far end of a tunnel."""
    if way is None:
        yield f"way to {remote}: is closed -> should be open, for tunnels: ip route get {remote}"


def guest_behind(gateway: Address) -> IPAddress | None:
    """An address of the network that a gateway is in, other than the gateway; None without one.

    A link-local network is on every link, so no way to it is the only one.
    """
    network = gateway.address.network
    if network.is_link_local:
        return None
    return network[-2] if network.num_addresses > 2 else None


def about_subnet(gateway: Address, way: Path | None) -> Iterator[str]:
    """Whether the host reaches a subnet by its bridge."""
    if way is None or way.link != gateway.link:
        found = f"by {way.link}" if way else "closed"
        yield (
            f"way to {gateway.address.network}: is {found} -> should be by {gateway.link}: see "
            f"ip rule, ip route"
        )


def forwarding_of(version: int, link: str) -> str:
    """The parameter that lets packets of an IP version which come by the link be forwarded."""
    return link_sysctl(f"ipv{version}.conf", link, "forwarding")
