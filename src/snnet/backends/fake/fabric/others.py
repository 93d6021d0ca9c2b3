"""The rules of others on a host: what a chain sees of a packet, and who knows the chains.

Here: the packet as chains at a hook of netfilter see it, and the interface by which a
station asks about it.  Not here: the chains themselves, which somebody else reads and
walks.  A station without ``Others`` has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from snnet.contract import IPAddress

from .frames import Arp, Echo, Encapsulated, Frame, Icmp6, Packet, Segment, Udp

Marks = tuple[int | None, ...]
"""The mark of a packet, and of each that follows it in a connection; None: nobody can tell."""

UNMARKED: Marks = (0, 0, 0)
"""Of a first packet of TCP: the handshake's last one and the data follow."""

UNKNOWN: Marks = (None, None, None)

IP, BRIDGE, ARP, NETDEV = "ip", "bridge", "arp", "netdev"
"""The layers that have hooks."""

DNAT_PRIORITY, SNAT_PRIORITY = -100, 100  # linux/netfilter_ipv4.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A frame or a packet at a hook.  None: not known there; empty text: there is none.

    ``came`` and ``goes`` are links; at hooks of IP that bridged frames pass, ``port_in`` and
    ``port_out`` are ports.  ``state`` is conntrack's word for its connection.
    """

    layer: str
    hook: str
    version: int
    """4 or 6; ARP is 0."""
    protocol: str = ""
    source: IPAddress | None = None
    target: IPAddress | None = None
    source_port: int | None = None
    target_port: int | None = None
    came: str = ""
    goes: str = ""
    port_in: str = ""
    port_out: str = ""
    bridge: str = ""
    mac_source: str | None = None
    mac_target: str | None = None
    state: str | None = None
    redirected: bool = False
    """Whether conntrack has changed its target."""
    opens: bool = False
    """Whether it is the first packet of a connection, which chains of type nat see."""
    kind: str = ""
    """The type of an ICMP message, or the operation of ARP."""
    flags: frozenset[str] | None = None
    """The flags of TCP."""
    marks: Marks = UNMARKED
    local: Callable[[IPAddress], str] | None = None
    """Says what an address is to the host: "local", "broadcast", "multicast" or "unicast".

    Without a route to an address of IPv6: "unreachable", or the kind of the route that refuses.
    """

    def __str__(self) -> str:
        return f"{self.layer} {self.hook}"


class Verdict(NamedTuple):
    """What others' chains do with a packet.

    ``lost``: it certainly goes nowhere; otherwise nobody can tell.  ``what`` names the rule;
    ``about`` is for those who made it.
    """

    lost: bool
    what: str
    about: object = None

    def __str__(self) -> str:
        return self.what


class Others(Protocol):
    """Knows the chains of others on one host."""

    def judge(
        self, seen: Seen, above: int | None, below: int | None
    ) -> tuple[Verdict | None, Marks]:
        """Walk the chains at the hook whose priority is in (above, below]; None: it passes.

        Returns also the marks that it has then.
        """

    def bypassed(self, seen: Seen) -> bool | None:
        """Whether a chain lets the packet through before it comes to the rules of snnet.

        None: nobody can tell.
        """


_OPENING, _ANSWER = frozenset({"syn"}), frozenset({"syn", "ack"})


def facts(carried: Packet | Arp) -> dict[str, object]:
    """Return what the headers of IP, or of ARP, say."""
    if isinstance(carried, Arp):
        return _arp(carried)
    payload = carried.payload
    found: dict[str, object] = {
        "version": carried.target.version,
        "source": carried.source,
        "target": carried.target,
    }
    match payload:
        case Segment(protocol=protocol, source=source, target=target, request=opens):
            found |= {"protocol": protocol, "source_port": source, "target_port": target}
            return found | ({"flags": _OPENING if opens else _ANSWER} if protocol == "tcp" else {})
        case Udp(source=source, target=target):
            return found | {"protocol": "udp", "source_port": source, "target_port": target}
        case Echo(request=request):
            protocol = "icmp" if carried.target.version == 4 else "ipv6-icmp"
            return found | {
                "protocol": protocol,
                "kind": "echo-request" if request else "echo-reply",
            }
        case Encapsulated(protocol=protocol):
            return found | {"protocol": protocol}
        case Icmp6(kind=kind):
            return found | {"protocol": "ipv6-icmp", "kind": kind.replace(" ", "-")}
        case _:
            return found


def _arp(said: Arp) -> dict[str, object]:
    if said.target.version == 4:
        return {
            "version": 0,
            "source": said.sender,
            "target": said.target,
            "kind": "request" if said.request else "reply",
        }
    # Neighbour discovery (RFC 4861): the request goes to the group of the address.
    return {
        "version": 6,
        "protocol": "ipv6-icmp",
        "source": said.sender,
        "target": solicited(said.target) if said.request else said.target,
        "kind": "nd-neighbor-solicit" if said.request else "nd-neighbor-advert",
    }


def solicited(address: IPAddress) -> IPAddress:
    """Return the solicited-node group of an IPv6 address (RFC 4291, 2.7.1)."""
    return type(address)(0xFF02 << 112 | 1 << 32 | 0xFF << 24 | int(address) & 0xFFFFFF)


def macs(frame: Frame) -> dict[str, object]:
    """Return the MACs of a frame; requests for a neighbour of IPv6 go to a group."""
    said, target = frame.payload, frame.target
    if frame.flooded and isinstance(said, Arp) and said.target.version == 6:
        target = "33:33:" + solicited(said.target).packed[-4:].hex(":")
    return {"mac_source": frame.source, "mac_target": target}
