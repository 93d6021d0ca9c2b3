"""Bridges that know what is behind a port without asking (net/bridge/br_arp_nd_proxy.c).

Here: static entries of a bridge, ports that do not learn, and requests that the bridge answers
itself.  Not here: where everything else goes (``links.py``).
"""

from __future__ import annotations

from typing import NamedTuple

from snnet.contract import IPAddress, Link, Neighbour, Vxlan

from .frames import Arp, Frame
from .walk import Station

NOT_LEARNING = ("bridge_slave learning", 0)
SUPPRESSING = ("bridge_slave neigh_suppress", 1)
KNOWN = frozenset({NOT_LEARNING, SUPPRESSING})
"""The settings of links that the fabric obeys."""


class Suppressed(NamedTuple):
    """What a bridge does about a message of ARP or neighbour discovery."""

    quiet: bool = False
    """Whether ports that suppress do not get it when it is flooded."""
    reply: Frame | None = None
    """The answer to the port that it came from."""


NOTHING = Suppressed()


def learns(port: Link) -> bool:
    """Return whether the bridge learns from the frames that come in by this port."""
    return NOT_LEARNING not in (port.settings or ())


def suppresses(port: Link) -> bool:
    """Return whether the bridge keeps requests that it can answer from this port."""
    return SUPPRESSING in (port.settings or ())


def port_of(station: Station, bridge: str, mac: str) -> str | None:
    """Return the port that a frame to this MAC leaves by, None if the bridge does not know."""
    learned = station.learned
    found = learned.ports.get((station, bridge, mac))
    if found is not None:
        return found
    vxlans = learned.vxlans.get((station, bridge))
    if vxlans is None:
        ports = map(station.state.link, station.state.ports[bridge])
        vxlans = tuple(port.name for port in ports if isinstance(port, Vxlan))
        learned.vxlans[station, bridge] = vxlans
    entries = station.state.nouns
    return next((name for name in vxlans if ("bridge-fdb", name, mac) in entries), None)


def suppressed(station: Station, bridge: Link, port: Link, arp: Arp) -> Suppressed:
    """Return what the bridge does about a message that came in by a port."""
    state = station.state
    ports = filter(None, map(state.link, state.ports[bridge.name]))
    if suppresses(port) or not any(map(suppresses, ports)):
        return NOTHING
    if arp.sender.is_unspecified or arp.sender == arp.target:
        return Suppressed(quiet=True)  # probes and announcements
    if not arp.request:
        return NOTHING
    mac = _lladdr(station, bridge.name, arp.target)
    out = port_of(station, bridge.name, mac) if mac else None
    beyond = state.link(out) if out else None
    if mac is None or beyond is None or not suppresses(beyond):
        return NOTHING
    reply = Arp(False, arp.target, mac, arp.sender)
    return Suppressed(quiet=True, reply=Frame(mac, arp.sender_mac, reply))


def _lladdr(station: Station, bridge: str, address: IPAddress) -> str | None:
    entry = station.state.nouns.get(("neighbour", bridge, str(address)))
    return entry.lladdr if isinstance(entry, Neighbour) else None
