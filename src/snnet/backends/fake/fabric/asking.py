"""What a question to the fabric sends first: protocols and ports, or a request for a MAC."""

from __future__ import annotations

from collections.abc import Collection

from snnet.contract import PROTOCOLS, InvalidRequest, IPAddress
from snnet.contract.errors import shown

from .frames import BROADCAST, Arp, Echo, Frame, Segment
from .stack import Stack
from .walk import Step

_EPHEMERAL = 49153  # a client port of the dynamic range (RFC 6335, 6)


def question(size: int, protocol: str | None, port: int | None) -> Echo | Segment:
    """Return a ping with so many bytes of data, or the first packet of a connection."""
    ping = protocol is None and port is None
    return Echo(True, 1, size) if ping else opening(protocol, port)


def opening(protocol: str | None, port: int | None) -> Segment:
    """Return the first packet of a connection."""
    check_port(protocol, port, needed=True)
    return Segment(protocol or "", _EPHEMERAL, port or 0)


def check_port(protocol: str | None, port: int | None, *, needed: bool = False) -> None:
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise InvalidRequest(f"protocol {shown(protocol)} is not one of {known}", field="protocol")
    if port is None and not needed:
        return
    if type(port) is not int or not 0 < port < 2**16:
        raise InvalidRequest(f"{shown(port)} is not a port from 1 to 65535", field="port")


def who_answers(
    stack: Stack, link_name: str, addresses: Collection[IPAddress], source: IPAddress
) -> set[IPAddress]:
    """Return the addresses that other stations answer requests on this link for."""
    station = stack.station
    found: set[IPAddress] = set()
    with station.network.lock:
        link = station.state.link(link_name)
        for address in addresses if link else ():
            assert link is not None
            walk = station.network.new_walk()
            known = (station, link_name, address)
            station.learned.neighbours.pop(known, None)
            asked = Arp(True, source, link.mac or "", address)
            step = Step(None, station.name, link_name, "{} tell {}", (asked, source))
            stack.links.transmit(link_name, Frame(link.mac or "", BROADCAST, asked), step)
            walk.run()
            if known in station.learned.neighbours:
                found.add(address)
    return found
