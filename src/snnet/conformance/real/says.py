"""The IPv6 messages of ``snnet.conformance.messages`` as frames.

Formats: RFC 8200 (extension headers), 4861 (neighbour discovery), 7527 (nonce), 3810 (MLD),
8415 (DHCPv6).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import NamedTuple

from snnet.conformance.endpoints import Endpoint
from snnet.conformance.messages import (
    ALL_NODES,
    ALL_ROUTERS,
    ANOTHER_MAC,
    NOBODY6,
    SNOOPERS,
    privacy_address,
)
from snnet.contract.addresses import GATEWAY_LINK_LOCAL, link_local_of

from .frames6 import IP6, fragment, header, icmp6, mac_bytes, neighbour, option, packet6, udp

_TAG = 0x8100
_HOP, _TCP, _UDP, _ROUTING, _FRAGMENT, _ICMP6, _OPTIONS = 0, 6, 17, 43, 44, 58, 60
_AUTH, _MOBILITY, _HIP, _SHIM = 51, 135, 139, 140
_UNREACHABLE, _TOO_BIG, _ECHO, _ECHO_REPLY, _QUERY, _REPORT, _DONE, _REPORT2 = (
    1, 2, 128, 129, 130, 131, 132, 143,
)  # fmt: skip
_ROUTER_SOLICIT, _ROUTER_ADVERT, _SOLICIT, _ADVERT, _REDIRECT, _RENUMBER = range(133, 139)
_SOURCE, _TARGET, _NONCE = 1, 2, 14
_CLIENT, _SERVER, _ANY = 546, 547, 40000
_MORE = 1
_ALERT = bytes([5, 2, 0, 0])


class Sender(NamedTuple):
    """Who sends a frame, who is to hear it, and the token that identifies it."""

    me: Endpoint
    other: Endpoint
    token: bytes

    @property
    def link_local(self) -> IPv6Address:
        return link_local_of(self.me.mac)

    @property
    def gateway(self) -> IPv6Address:
        assert self.me.gateway6 is not None
        return self.me.gateway6


Message = Callable[[Sender], bytes]


def frame(kind: str, me: Endpoint, other: Endpoint, token: bytes) -> tuple[bytes, bytes]:
    """Return the frame of this kind, a multicast, and bytes that identify its packet."""
    made = FRAMES[kind](Sender(me, other, token))
    start = 18 if made[12:14] == struct.pack("!H", _TAG) else 14
    # The flow label is in no checksum (RFC 8200, 8.1).
    label = struct.pack("!I", 6 << 28 | int.from_bytes(token[:4], "big") & 0xFFFFF)
    made = made[:start] + label + made[start + 4 :]
    return made, made[start : start + 24]


# -- neighbour discovery ------------------------------------------------------------------


def _said(
    kind: int,
    body: Callable[[Sender], bytes],
    source: Callable[[Sender], IPv6Address] | None = None,
    to: IPv6Address = ALL_NODES,
) -> Message:
    """An ICMPv6 message to a multicast group."""

    def made(by: Sender) -> bytes:
        own = source(by) if source else by.me.ip6
        packet = packet6(own, to, _ICMP6, icmp6(own, to, kind, body(by)))
        return _multicast(by, packet)

    return made


def _multicast(by: Sender, packet: bytes, tags: bytes = b"") -> bytes:
    mac = "33:33:00:00:00:01"
    body = mac_bytes(mac) + mac_bytes(by.me.mac) + tags + struct.pack("!H", IP6) + packet
    return body.ljust(60, b"\0")


def _unspecified(by: Sender) -> IPv6Address:
    return NOBODY6


def _advert(target: Callable[[Sender], IPv6Address], *options: tuple[int, str]) -> Message:
    """``options`` have a kind, and a MAC or whose MAC: "own" or "other"."""

    def body(by: Sender) -> bytes:
        return neighbour(target(by), *_macs(by, options), flags=0x20000000)

    return _said(_ADVERT, body)


def _solicit(
    target: Callable[[Sender], IPv6Address],
    *options: tuple[int, str],
    source: Callable[[Sender], IPv6Address] | None = None,
) -> Message:
    return _said(_SOLICIT, lambda by: neighbour(target(by), *_macs(by, options)), source, ALL_NODES)


def _macs(by: Sender, options: tuple[tuple[int, str], ...]) -> list[bytes]:
    values = {"own": mac_bytes(by.me.mac), "other": mac_bytes(ANOTHER_MAC), "nonce": b"nonce!"}
    return [option(kind, values[what]) for kind, what in options]


def _own(by: Sender) -> IPv6Address:
    return by.me.ip6


def _link_local(by: Sender) -> IPv6Address:
    return by.link_local


def _another(by: Sender) -> IPv6Address:
    return by.other.ip6


def _private(by: Sender) -> IPv6Address:
    return privacy_address(by.me)


def _gateway(by: Sender) -> IPv6Address:
    return by.gateway


def _gateway_link_local(by: Sender) -> IPv6Address:
    return GATEWAY_LINK_LOCAL


def _formed_from_another(by: Sender) -> IPv6Address:
    return link_local_of(by.other.mac)


# -- what routers and servers say -----------------------------------------------------------


def _router_advert(by: Sender) -> tuple[int, bytes]:
    body = struct.pack("!BBHII", 64, 0x40, 1800, 0, 0) + option(_SOURCE, mac_bytes(by.me.mac))
    return _ICMP6, icmp6(by.link_local, ALL_NODES, _ROUTER_ADVERT, body)


def _redirect(by: Sender) -> tuple[int, bytes]:
    body = bytes(4) + by.link_local.packed + by.other.ip6.packed
    return _ICMP6, icmp6(by.link_local, ALL_NODES, _REDIRECT, body)


def _asked(by: Sender) -> tuple[int, bytes]:
    return _ICMP6, icmp6(by.link_local, ALL_NODES, _ECHO, by.token)


def _whole_advert(by: Sender) -> tuple[int, bytes]:
    body = neighbour(by.me.ip6, flags=0x20000000)
    return _ICMP6, icmp6(by.link_local, ALL_NODES, _ADVERT, body)


def _answer(by: Sender, ports: tuple[int, int] = (_SERVER, _CLIENT)) -> tuple[int, bytes]:
    data = struct.pack("!I", 7 << 24 | 1) + by.token
    return _UDP, udp(by.link_local, ALL_NODES, ports, data)


def _plain(made: Callable[[Sender], tuple[int, bytes]]) -> Message:
    def message(by: Sender) -> bytes:
        kind, payload = made(by)
        return _multicast(by, packet6(by.link_local, ALL_NODES, kind, payload))

    return message


def _tagged(made: Callable[[Sender], tuple[int, bytes]]) -> Message:
    def message(by: Sender) -> bytes:
        kind, payload = made(by)
        packet = packet6(by.link_local, ALL_NODES, kind, payload)
        return _multicast(by, packet, struct.pack("!HH", _TAG, 0))

    return message


def _behind(made: Callable[[Sender], tuple[int, bytes]], *headers: int) -> Message:
    """The message behind these extension headers."""

    def message(by: Sender) -> bytes:
        kind, payload = made(by)
        for number in reversed(headers):
            if number == _FRAGMENT:  # "atomic": the only fragment (RFC 6946)
                payload = fragment(kind, 0, 0) + payload
            elif number == _ROUTING:  # of type 4, no segments left
                payload = bytes([kind, 0, 4, 0, 0, 0, 0, 0]) + payload
            else:
                payload = header(kind) + payload
            kind = number
        return _multicast(by, packet6(by.link_local, ALL_NODES, kind, payload))

    return message


def _in_fragments(made: Callable[[Sender], tuple[int, bytes]]) -> Message:
    """The first fragment of the message: without its upper layer (RFC 7113, 2)."""

    def message(by: Sender) -> bytes:
        kind, _ = made(by)
        payload = fragment(_OPTIONS, 0, _MORE) + header(kind)
        return _multicast(by, packet6(by.link_local, ALL_NODES, _FRAGMENT, payload))

    return message


def _first_fragment(made: Callable[[Sender], tuple[int, bytes]]) -> Message:
    """The first fragment of the message: with 8 bytes of its upper layer."""

    def message(by: Sender) -> bytes:
        kind, payload = made(by)
        packet = fragment(kind, 0, _MORE) + payload[:8]
        return _multicast(by, packet6(by.link_local, ALL_NODES, _FRAGMENT, packet))

    return message


def _behind_padding(
    made: Callable[[Sender], tuple[int, bytes]], shown: Callable[[Sender], tuple[int, bytes]]
) -> Message:
    """The first fragment of the message: what follows in the frame is not of the packet."""

    def message(by: Sender) -> bytes:
        kind, _ = made(by)
        payload = fragment(_OPTIONS, 0, _MORE) + header(kind)
        packet = packet6(by.link_local, ALL_NODES, _FRAGMENT, payload)
        return _multicast(by, packet + shown(by)[1])

    return message


def _unfinished(by: Sender) -> bytes:
    """A first fragment that ends within its extension headers."""
    payload = fragment(_OPTIONS, 0, _MORE) + bytes([_ICMP6, 9]) + b"\1\4\0\0\0\0"
    return _multicast(by, packet6(by.link_local, ALL_NODES, _FRAGMENT, payload))


# -- what everybody says ------------------------------------------------------------------


def _echo(source: Callable[[Sender], IPv6Address], target: IPv6Address = ALL_NODES) -> Message:
    return _said(_ECHO, lambda by: by.token[:2] + b"\0\1" + by.token, source, target)


def _report(source: Callable[[Sender], IPv6Address], kind: int = _REPORT2) -> Message:
    """An MLD message, behind the router alert option (RFC 3810, 5; RFC 2711)."""

    def made(by: Sender) -> bytes:
        own = source(by)
        group = IPv6Address("ff02::1:ff00:9").packed
        version2 = struct.pack("!HHBBH", 0, 1, 4, 0, 0) + group
        body = version2 if kind == _REPORT2 else bytes(4) + group
        icmp = icmp6(own, SNOOPERS, kind, body)
        payload = header(_ICMP6, _ALERT + b"\1\0") + icmp
        return _multicast(by, packet6(own, SNOOPERS, _HOP, payload))

    return made


def _datagram(
    source: Callable[[Sender], IPv6Address], ports: tuple[int, int], data: bytes = b""
) -> Message:
    def made(by: Sender) -> bytes:
        own = source(by)
        datagram = udp(own, ALL_NODES, ports, data + by.token)
        return _multicast(by, packet6(own, ALL_NODES, _UDP, datagram))

    return made


def _part(offset: int, flags: int, following: int = _UDP) -> Message:
    """One fragment of an honest datagram."""

    def made(by: Sender) -> bytes:
        udp = struct.pack("!HHHH", _ANY, _ANY, 2000, 0) + by.token if offset == 0 else by.token
        payload = fragment(following, offset, flags) + udp.ljust(24, b"\0")
        return _multicast(by, packet6(by.me.ip6, ALL_NODES, _FRAGMENT, payload))

    return made


def _segment(by: Sender) -> tuple[int, bytes]:
    return _TCP, struct.pack("!HHIIBBHHH", _ANY, _ANY, 1, 0, 5 << 4, 2, 1024, 0, 0)


def _renumber(by: Sender) -> tuple[int, bytes]:
    return _ICMP6, icmp6(by.link_local, ALL_NODES, _RENUMBER, bytes(12))


FRAMES: dict[str, Message] = {
    "echo from another address": _echo(_another),
    "echo from another's link-local address": _echo(_formed_from_another),
    "echo from the gateway's link-local address": _echo(_gateway_link_local),
    "echo from nobody": _echo(_unspecified),
    "datagram from another address": _datagram(_another, (_ANY, _ANY)),
    "advert for the gateway": _advert(_gateway, (_TARGET, "own")),
    "advert for the gateway's link-local address": _advert(_gateway_link_local, (_TARGET, "own")),
    "advert for another": _advert(_another, (_TARGET, "own")),
    "advert for another without option": _advert(_another),
    "advert for another's link-local address": _advert(_formed_from_another, (_TARGET, "own")),
    "advert with another mac": _advert(_own, (_TARGET, "other")),
    "advert with two options": _advert(_own, (_TARGET, "own"), (_TARGET, "other")),
    "advert behind options": _behind(_whole_advert, _OPTIONS),
    "advert in a fragment": _behind(_whole_advert, _FRAGMENT),
    "advert behind a mobility header": _behind(_whole_advert, _MOBILITY),
    "solicit with another mac": _solicit(_another, (_SOURCE, "other")),
    "solicit from another address": _solicit(_own, (_SOURCE, "own"), source=_another),
    "detection for another": _solicit(_another, source=_unspecified),
    "detection for the gateway": _solicit(_gateway, (_NONCE, "nonce"), source=_unspecified),
    "router solicit with another mac": _said(
        _ROUTER_SOLICIT,
        lambda by: bytes(4) + option(_SOURCE, mac_bytes(ANOTHER_MAC)),
        _link_local,
        ALL_ROUTERS,
    ),
    "router advert": _plain(_router_advert),
    "router advert in a tag": _tagged(_router_advert),
    "router advert behind options": _behind(_router_advert, _OPTIONS),
    "router advert behind many headers": _behind(_router_advert, _HOP, _ROUTING, _OPTIONS),
    "router advert in an atomic fragment": _behind(_router_advert, _FRAGMENT),
    "router advert behind a fragment's options": _behind(_router_advert, _FRAGMENT, _OPTIONS),
    "router advert behind authentication": _behind(_router_advert, _AUTH),
    "router advert behind a fragment's authentication": _behind(_router_advert, _FRAGMENT, _AUTH),
    "router advert in fragments": _in_fragments(_router_advert),
    "router advert, first fragment": _first_fragment(_router_advert),
    "router advert behind padding": _behind_padding(_router_advert, _asked),
    "redirect": _plain(_redirect),
    "redirect behind options": _behind(_redirect, _OPTIONS),
    "redirect in fragments": _in_fragments(_redirect),
    "router renumbering": _plain(_renumber),
    "mld query": _report(_link_local, _QUERY),
    "dhcpv6 answer": _plain(_answer),
    "dhcpv6 answer from another port": _plain(lambda by: _answer(by, (_ANY, _CLIENT))),
    "dhcpv6 answer to another port": _plain(lambda by: _answer(by, (_SERVER, _ANY))),
    "dhcpv6 answer behind options": _behind(_answer, _OPTIONS),
    "dhcpv6 answer behind two strange headers": _behind(_answer, _SHIM, _HIP),
    "dhcpv6 answer in fragments": _in_fragments(_answer),
    "dhcpv6 answer, first fragment": _first_fragment(_answer),
    "dhcpv6 answer behind padding": _behind_padding(_answer, lambda by: _answer(by, (_ANY, _ANY))),
    "dhcpv6 relay": _datagram(_link_local, (_SERVER, _SERVER), bytes([12])),
    "dhcpv6 relay from a client's port": _datagram(_link_local, (_CLIENT, _SERVER), bytes([12])),
    "unfinished headers": _unfinished,
    "echo": _echo(_own),
    "echo from the link-local address": _echo(_link_local),
    "echo from a private link-local address": _echo(_private),
    "datagram": _datagram(_own, (_ANY, _ANY)),
    "datagram behind options": _behind(lambda by: _answer(by, (_ANY, _ANY)), _OPTIONS),
    "segment": lambda by: _multicast(by, packet6(by.me.ip6, ALL_NODES, *_segment(by))),
    "segment behind authentication": _behind(_segment, _AUTH),
    "first fragment": _part(0, _MORE),
    "later fragment": _part(1232, 0),
    "later fragment of an echo": _part(1232, 0, _ICMP6),
    "fragment at byte 8": _part(8, _MORE),
    "too big": _said(_TOO_BIG, lambda by: struct.pack("!I", 1280) + bytes(48)),
    "unreachable": _said(_UNREACHABLE, lambda by: bytes(52)),
    "solicit": _solicit(_another, (_SOURCE, "own")),
    "solicit without option": _solicit(_another),
    "solicit from the link-local address": _solicit(_gateway, (_SOURCE, "own"), source=_link_local),
    "advert": _advert(_own, (_TARGET, "own")),
    "advert without option": _advert(_own),
    "advert for the link-local address": _advert(_link_local, (_TARGET, "own")),
    "advert for a private link-local address": _advert(_private, (_TARGET, "own")),
    "detection": _solicit(_own, source=_unspecified),
    "detection with nonce": _solicit(_own, (_NONCE, "nonce"), source=_unspecified),
    "detection for the link-local address": _solicit(_link_local, source=_unspecified),
    "router solicit": _said(
        _ROUTER_SOLICIT,
        lambda by: bytes(4) + option(_SOURCE, mac_bytes(by.me.mac)),
        _link_local,
        ALL_ROUTERS,
    ),
    "router solicit from nobody": _said(
        _ROUTER_SOLICIT, lambda by: bytes(4), _unspecified, ALL_ROUTERS
    ),
    "mld report": _report(_link_local),
    "mld report from nobody": _report(_unspecified),
    "mld report of version 1": _report(_link_local, _REPORT),
    "mld done": _report(_link_local, _DONE),
    "dhcpv6 request": _datagram(_link_local, (_CLIENT, _SERVER), bytes([1])),
}
"""By kind, as named in ``snnet.conformance.messages``."""
