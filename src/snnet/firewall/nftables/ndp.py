"""The static rules for what a guest may send by IPv6, at bridge ports and on routed links.

The chain ``sender6`` gets every IPv6 packet of a guarded link.  It decides finally.

A link-local address is the guest's own if it is formed from the guest's MAC, or from no MAC
at all (RFC 7217); ``fe80::1`` is a gateway's.  Bytes 3 and 4 of an interface identifier that
is formed from a MAC are ff:fe (RFC 4291, appendix A).

The kernel finds the upper layer behind any extension headers (``ipv6_find_hdr``).  It finds
none in the first fragment of a packet if the chain of headers ends in a later one, and the
rules below accept only what they can read (RFC 7112, RFC 7113, RFC 7610).  Fragments after
the first need no check: without the first, nobody can reassemble the packet.
"""

from __future__ import annotations

from .filter import HIDDEN

_FORMED_FROM_MAC = "0xfffe"
_OWN_LINK_LOCAL = f"@th,64,64 0xfe80000000000000 @th,128,64 != 1 @th,152,16 != {_FORMED_FROM_MAC}"
"""The target of a neighbour message (RFC 4861, 4.3 and 4.4), 8 bytes after its start."""

# The kernel looks behind none of these (ipv6_find_hdr): authentication, mobility, HIP and Shim6
# headers (RFC 4302, 6275, 7401, 5533).  They begin with the number of the next one.
_WRAPPERS = "{ 51, 135, 139, 140 }"
_WRAPPED = "{ 0, 17, 43, 44, 51, 58, 60, 135, 139, 140 }"

# nft takes what is in the payload for a number, and looks it up only in a set of numbers.  Of
# what it has a name for, it lists the name: such a rule could not be loaded again with a set of
# numbers.  So MACs and addresses are in two sets each.
SETS6 = """set own6 { type ifname . ether_addr; }
set sources6 { type ifname . ether_addr . ipv6_addr; }
set targets6 { typeof iifname . @th,64,128; }
set macs6 { typeof iifname . @th,208,48; }
set ranges6 { type ifname . ipv6_addr; flags interval; }
set target_ranges6 { typeof iifname . @th,64,128; flags interval; }
"""

# Options are a type, a length in units of 8 bytes, and a MAC: 1 is the source's, 2 the
# target's (RFC 4861, 4.6.1), 14 a nonce (RFC 7527, 4).  A message has at most one: the
# length of the packet says so.  "ip6 nexthdr": RFC 6980, 5.
_GUARD6 = """chain sender6
chain nobody6
chain message6
chain udp6
chain icmp6
chain solicit6
chain claim6
chain sender6 iifname . ether saddr != @own6 goto drop-address
chain sender6 ip6 saddr :: goto nobody6
chain sender6 iifname . ether saddr . ip6 saddr @sources6 goto message6
chain sender6 iifname . ip6 saddr @ranges6 goto message6
chain sender6 ip6 saddr != fe80::/64 goto drop-address
chain sender6 ip6 saddr fe80::1 goto drop-address
chain sender6 @nh,152,16 {formed} goto drop-address
chain sender6 goto message6
chain nobody6 icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept
chain nobody6 ip6 nexthdr != ipv6-icmp goto drop-address
chain nobody6 icmpv6 type nd-router-solicit ip6 length 8 accept
chain nobody6 icmpv6 type != nd-neighbor-solicit goto drop-address
chain nobody6 jump claim6
chain nobody6 ip6 length 24 accept
chain nobody6 ip6 length 32 @th,192,16 0x0e01 accept
chain nobody6 goto drop-address
chain message6 frag frag-off != 0 accept
chain message6 {hidden} goto drop-address
chain message6 meta l4proto ipv6-icmp goto icmp6
chain message6 meta l4proto udp goto udp6
chain message6 meta l4proto tcp accept
chain message6 meta l4proto {wrappers} @th,0,8 {wrapped} goto drop-discovery
chain message6 meta l4proto 0-255 accept
chain message6 goto drop-address
chain udp6 udp sport 547 goto drop-dhcp
chain udp6 udp dport 546 goto drop-dhcp
chain udp6 udp dport 547 exthdr frag exists goto drop-dhcp
chain udp6 udp dport 547 @th,64,8 12-13 goto drop-dhcp
chain udp6 udp dport 0-65535 accept
chain udp6 goto drop-address
chain icmp6 icmpv6 type { 1-4, 128, 129, 131, 132, 143 } accept
chain icmp6 ip6 nexthdr != ipv6-icmp goto drop-discovery
chain icmp6 icmpv6 type nd-router-solicit ip6 length 8 accept
chain icmp6 icmpv6 type nd-router-solicit ip6 length 16 \
    @th,64,16 0x0101 iifname . @th,80,48 @macs6 accept
chain icmp6 icmpv6 type nd-neighbor-solicit goto solicit6
chain icmp6 icmpv6 type != nd-neighbor-advert goto drop-discovery
chain icmp6 jump claim6
chain icmp6 ip6 length 24 accept
chain icmp6 ip6 length 32 @th,192,16 0x0201 iifname . @th,208,48 @macs6 accept
chain icmp6 goto drop-discovery
chain solicit6 ip6 length 24 accept
chain solicit6 ip6 length 32 @th,192,16 0x0101 iifname . @th,208,48 @macs6 accept
chain solicit6 ip6 length 32 @th,192,16 0x0e01 accept
chain solicit6 goto drop-discovery
chain claim6 iifname . @th,64,128 @targets6 return
chain claim6 iifname . @th,64,128 @target_ranges6 return
chain claim6 {own_link_local} return
chain claim6 goto drop-discovery
"""

GUARD6 = (
    _GUARD6.replace("{formed}", _FORMED_FROM_MAC)
    .replace("{own_link_local}", _OWN_LINK_LOCAL)
    .replace("{hidden}", HIDDEN)
    .replace("{wrappers}", _WRAPPERS)
    .replace("{wrapped}", _WRAPPED)
)
