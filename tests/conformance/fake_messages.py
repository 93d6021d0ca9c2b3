"""The IPv6 messages of the kit as the fabric has them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address

from snnet.backends.fake.fabric.frames import (
    MLD_REPORT,
    REDIRECT,
    ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
    TOO_BIG,
    UNREACHABLE,
    Arp,
    Dhcp,
    Echo,
    Fragment,
    Icmp6,
    Packet,
    Segment,
    Udp,
)
from snnet.conformance.endpoints import Endpoint
from snnet.conformance.messages import (
    ALL_NODES,
    ANOTHER_MAC,
    NOBODY6,
    privacy_address,
)
from snnet.contract.addresses import GATEWAY_LINK_LOCAL, link_local_of

Said = Arp | Packet
Payload = Echo | Segment | Udp | Icmp6 | Fragment | Arp
Source = Callable[[Endpoint, Endpoint], IPv6Address]

NOT_HERE = ("router advert in a tag",)
"""A fabric has no tags."""


def _own(me: Endpoint, other: Endpoint) -> IPv6Address:
    return me.ip6


def _another(me: Endpoint, other: Endpoint) -> IPv6Address:
    return other.ip6


def _link_local(me: Endpoint, other: Endpoint) -> IPv6Address:
    return link_local_of(me.mac)


def _formed_from_another(me: Endpoint, other: Endpoint) -> IPv6Address:
    return link_local_of(other.mac)


def _private(me: Endpoint, other: Endpoint) -> IPv6Address:
    return privacy_address(me)


def _gateway(me: Endpoint, other: Endpoint) -> IPv6Address:
    assert me.gateway6 is not None
    return me.gateway6


def _gateway_link_local(me: Endpoint, other: Endpoint) -> IPv6Address:
    return GATEWAY_LINK_LOCAL


def _nobody(me: Endpoint, other: Endpoint) -> IPv6Address:
    return NOBODY6


def message(kind: str, me: Endpoint, other: Endpoint) -> Said:
    """Return what the kind stands for, said by ``me``."""
    return _MESSAGES[kind](me, other)


def _sent(
    payload: Payload, source: Source = _link_local, *headers: str
) -> Callable[[Endpoint, Endpoint], Said]:
    return lambda me, other: Packet(source(me, other), ALL_NODES, payload, headers=headers)


def _advert(target: Source, mac: str | None = None, *, options: int = 0) -> Callable[..., Said]:
    """``mac`` is that of its option, by default the guest's; an empty text stands for none."""
    return lambda me, other: Arp(
        False, target(me, other), me.mac if mac is None else mac, other.ip6, options
    )


def _solicit(target: Source, source: Source = _own, mac: str | None = None) -> Callable[..., Said]:
    return lambda me, other: Arp(
        True, source(me, other), me.mac if mac is None else mac, target(me, other)
    )


def _wrapped_advert(*headers: str) -> Callable[[Endpoint, Endpoint], Said]:
    return lambda me, other: Packet(
        link_local_of(me.mac), ALL_NODES, Arp(False, me.ip6, "", other.ip6), headers=headers
    )


def _router_solicit(source: Source, mac: str | None) -> Callable[..., Said]:
    return lambda me, other: Packet(
        source(me, other), ALL_NODES, Icmp6(ROUTER_SOLICITATION, me.mac if mac is None else mac)
    )


_ECHO = Echo(True, 1, 16)
_ADVERTISEMENT, _REDIRECT = Icmp6(ROUTER_ADVERTISEMENT), Icmp6(REDIRECT)
_ANSWER = Udp(547, 546, Dhcp("REPLY", ANOTHER_MAC))
_OPTIONS, _HOP, _ROUTING, _FRAGMENT = "options", "hop-by-hop options", "routing", "fragment"
_AUTH = "authentication"

_MESSAGES: dict[str, Callable[[Endpoint, Endpoint], Said]] = {
    "echo from another address": _sent(_ECHO, _another),
    "echo from another's link-local address": _sent(_ECHO, _formed_from_another),
    "echo from the gateway's link-local address": _sent(_ECHO, _gateway_link_local),
    "echo from nobody": _sent(_ECHO, _nobody),
    "datagram from another address": _sent(Segment("udp", 40000, 40000), _another),
    "advert for the gateway": _advert(_gateway),
    "advert for the gateway's link-local address": _advert(_gateway_link_local),
    "advert for another": _advert(_another),
    "advert for another without option": _advert(_another, ""),
    "advert for another's link-local address": _advert(_formed_from_another),
    "advert with another mac": _advert(_own, ANOTHER_MAC),
    "advert with two options": _advert(_own, options=1),
    "advert behind options": _wrapped_advert(_OPTIONS),
    "advert in a fragment": _wrapped_advert(_FRAGMENT),
    "advert behind a mobility header": _wrapped_advert("mobility"),
    "solicit with another mac": _solicit(_another, mac=ANOTHER_MAC),
    "solicit from another address": _solicit(_own, _another),
    "detection for another": _solicit(_another, _nobody, ""),
    "detection for the gateway": _solicit(_gateway, _nobody, ""),
    "router solicit with another mac": _router_solicit(_link_local, ANOTHER_MAC),
    "router advert": _sent(_ADVERTISEMENT),
    "router advert behind options": _sent(_ADVERTISEMENT, _link_local, _OPTIONS),
    "router advert behind many headers": _sent(
        _ADVERTISEMENT, _link_local, _HOP, _ROUTING, _OPTIONS
    ),
    "router advert in an atomic fragment": _sent(_ADVERTISEMENT, _link_local, _FRAGMENT),
    "router advert behind a fragment's options": _sent(
        _ADVERTISEMENT, _link_local, _FRAGMENT, _OPTIONS
    ),
    "router advert behind authentication": _sent(_ADVERTISEMENT, _link_local, _AUTH),
    "router advert behind a fragment's authentication": _sent(
        _ADVERTISEMENT, _link_local, _FRAGMENT, _AUTH
    ),
    "router advert in fragments": _sent(Fragment(True)),
    "router advert, first fragment": _sent(Fragment(True, _ADVERTISEMENT)),
    "router advert behind padding": _sent(Fragment(True)),
    "redirect": _sent(_REDIRECT),
    "redirect behind options": _sent(_REDIRECT, _link_local, _OPTIONS),
    "redirect in fragments": _sent(Fragment(True)),
    "router renumbering": _sent(Icmp6("router renumbering")),
    "mld query": _sent(Icmp6("MLD query")),
    "dhcpv6 answer": _sent(_ANSWER),
    "dhcpv6 answer from another port": _sent(Segment("udp", 40000, 546)),
    "dhcpv6 answer to another port": _sent(Segment("udp", 547, 40000)),
    "dhcpv6 answer behind options": _sent(_ANSWER, _link_local, _OPTIONS),
    "dhcpv6 answer behind two strange headers": _sent(_ANSWER, _link_local, "Shim6", "HIP"),
    "dhcpv6 answer in fragments": _sent(Fragment(True)),
    "dhcpv6 answer, first fragment": _sent(Fragment(True, _ANSWER)),
    "dhcpv6 answer behind padding": _sent(Fragment(True)),
    "dhcpv6 relay": _sent(Udp(547, 547, Dhcp("RELAY-FORW", ANOTHER_MAC))),
    "dhcpv6 relay from a client's port": _sent(Udp(546, 547, Dhcp("RELAY-FORW", ANOTHER_MAC))),
    "unfinished headers": _sent(Fragment(True)),
    "echo": _sent(_ECHO, _own),
    "echo from the link-local address": _sent(_ECHO),
    "echo from a private link-local address": _sent(_ECHO, _private),
    "datagram": _sent(Segment("udp", 40000, 40000), _own),
    "datagram behind options": _sent(Segment("udp", 40000, 40000), _link_local, _OPTIONS),
    "segment": _sent(Segment("tcp", 40000, 40000), _own),
    "segment behind authentication": _sent(Segment("tcp", 40000, 40000), _link_local, _AUTH),
    "first fragment": _sent(Fragment(True, Segment("udp", 40000, 40000)), _own),
    "later fragment": _sent(Fragment(False), _own),
    "later fragment of an echo": _sent(Fragment(False), _own),
    "fragment at byte 8": _sent(Fragment(False, start=8), _own),
    "too big": _sent(Icmp6(TOO_BIG), _own),
    "unreachable": _sent(Icmp6(UNREACHABLE), _own),
    "solicit": _solicit(_another),
    "solicit without option": _solicit(_another, mac=""),
    "solicit from the link-local address": _solicit(_gateway, _link_local),
    "advert": _advert(_own),
    "advert without option": _advert(_own, ""),
    "advert for the link-local address": _advert(_link_local),
    "advert for a private link-local address": _advert(_private),
    "detection": _solicit(_own, _nobody, ""),
    "detection with nonce": _solicit(_own, _nobody, ""),
    "detection for the link-local address": _solicit(_link_local, _nobody, ""),
    "router solicit": _router_solicit(_link_local, None),
    "router solicit from nobody": _router_solicit(_nobody, ""),
    "mld report": _sent(Icmp6(MLD_REPORT), _link_local, _HOP),
    "mld report from nobody": _sent(Icmp6(MLD_REPORT), _nobody, _HOP),
    "mld report of version 1": _sent(Icmp6(MLD_REPORT), _link_local, _HOP),
    "mld done": _sent(Icmp6(MLD_REPORT), _link_local, _HOP),
    "dhcpv6 request": _sent(Udp(546, 547, Dhcp("SOLICIT", ANOTHER_MAC))),
}
