"""Firewall rules as intents.  A driver decides how to write them.

Their meaning follows, in the order of netfilter's hooks.  A packet to which no rule
applies passes unchanged.  Rules apply to IPv4 and IPv6, unless they say otherwise.

Bridge ports.  Frames from an ``Untracked`` port are not tracked, defragmented or translated,
unless they are for its ``router``; nor are the UDP packets of a tunnel with a ``TunnelGuard``.
Frames from an ``Untracked`` port to bridges themselves (IEEE 802.1D) never reach the host.
A frame from the guest behind an ``AntiSpoof`` link passes only if it is ARP or IP, and if every
sender's MAC in it is that of the rule, and every sender's address is one of its addresses or is
in one of its networks.  A source of 0.0.0.0 passes in ARP probes (RFC 5227) and in requests of
DHCP clients.  Answers of DHCP servers (UDP from port 67 or to port 68) never pass.

A guest with an IPv6 address may also use link-local addresses: the one formed from its MAC, and
all that are not formed from a MAC (RFC 7217), but not ``fe80::1``, which is a gateway's.  Of
ICMPv6 it may send errors, echo messages, MLD reports, router solicitations and neighbour
messages.  Neighbour messages (RFC 4861) name only its own MAC, and have no extension headers and
no further options (RFC 6980); advertisements and duplicate detection are about its own addresses.
A source of :: passes in duplicate detection, router solicitations and MLD reports.  Router
advertisements, redirects (RFC 6105) and the answers of DHCPv6 servers and relays (UDP from port
547 or to port 546, RFC 7610) never pass, whatever headers precede them; ICMPv6 and UDP behind AH,
mobility, HIP or Shim6 headers do not.  A first fragment does not pass if it does not show what the
packet is (RFC 7112, RFC 7113), or if further headers precede that.

A port with ``PortGroups`` passes what its guest sends only if an "out" rule of one of its groups
allows it, and what the guest would receive only if an "in" rule does.  Answers to what passed by
a rule pass too: packets of the same connection (tcp, udp, sctp), echo replies, ICMP errors about
it or its answers, and packets of other protocols between the two hosts.  ARP, neighbour
discovery and DHCP pass.  So do fragments after the first, which are useless without it.  Frames
with VLAN tags, and first fragments of IPv6 with headers before the upper layer, do not pass.

Destination NAT, of new connections:

1. to ``PublicIp.public``, from anywhere, the host itself included: to its ``internal``;
2. arriving by ``PortForward.device`` for an address of the host, to its protocol and
   port: to its ``target`` and ``target_port``.  A forward with an ``address`` is for
   packets to that address, one without for any address of the host;
3. from a link of a ``Zone``, or from the host itself, to one of the
   ``PortForward.guest_addresses`` of the same owner, to its protocol and port: likewise
   (hairpin).

In 2 and in 3, a forward with an ``address`` comes before one without.  A forward with
``sources`` applies only to packets from these networks.  For all others the next forward
applies, or else the host itself gets the packet.

Forwarding of routed packets, and of bridged packets if the kernel passes them to the
hooks of IP (br_netfilter):

1. between the ports of a ``BridgeAccept`` bridge: pass.  Other packets from such a
   bridge or to it: dropped.
2. between links of one ``Zone``: pass.
3. from a link of a zone to any other: pass if they answer (conntrack: established,
   related); dropped if a ``ProtectedNetwork`` says so; pass by ``ExternalForward`` while
   its device has ``Masquerade``, or if the source is the ``internal`` of a ``PublicIp``
   on that device; else 4 applies if the zone is ``outbound``, and they are dropped if not.
4. from any other link to one of a zone: pass if they answer, if they were destined
   for something else before NAT, if the source is in the zone's ``networks``, or if the
   target is an ``OpenAddress``; else dropped.

To the host itself: dropped if they are for the UDP port or the GRE key of a ``TunnelGuard`` and
come from none of the remotes that its owner's guards name for that port or key.  From a
``HostServices`` link only DHCP, DNS, ICMP, IGMP and answers pass, but no router advertisements
and redirects.  Dropped if they come by a ``HostIsolation`` link, answer nothing and are not for its
``open_address``; neighbour solicitations and advertisements are dropped only with ``arp``.

Source NAT, of new connections:

1. between links of zones, if the destination was changed: to the host's address on
   the way out, or the answer would not come back this way (hairpin);
2. from a ``PublicIp.internal``, leaving by its device: to its ``public``;
3. from a ``TranslatedSource``, leaving by a link of no zone: to an address of that link;
4. leaving by a ``Masquerade`` device: to an address of the device, but for what has
   an address of the host as its source, and for IPv6 without ``nat66``.

Packets of no connection (conntrack: invalid, or untracked, as neighbour discovery always is)
are not translated, so they do not leave a zone where rules 2 to 4 would apply to them.  IPv6
that keeps its source leaves as it is.

When a ``PortForward`` or a ``PublicIp`` is added or removed, or a ``Masquerade`` or an
``ExternalForward`` is removed, the driver deletes the kernel's entries of connections
(conntrack) that would otherwise bypass the change.  Connections that the remaining rules
allow, and translate in the same way, continue.
"""

from __future__ import annotations

from .groups import GROUPS
from .guards import GUARDS
from .nat import Masquerade, PortForward, PublicIp, TranslatedSource
from .noun import Noun
from .zones import BridgeAccept, ExternalForward, OpenAddress, ProtectedNetwork, Zone, ZoneLink

RULES: frozenset[type[Noun]] = frozenset(
    {
        Zone,
        ProtectedNetwork,
        ZoneLink,
        BridgeAccept,
        Masquerade,
        ExternalForward,
        PortForward,
        PublicIp,
        TranslatedSource,
        OpenAddress,
        *GUARDS,
        *GROUPS,
    }
)
"""All rules: the nouns that a firewall driver carries."""
