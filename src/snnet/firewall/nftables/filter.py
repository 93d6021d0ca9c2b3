"""The static rules of security groups at ports, and for frames that evade bridges.

Each direction has a hook at its end of the way through the bridge or the host: what is for the
host, or from it, is filtered too.

"ether type" of a frame with a VLAN tag, even of VLAN 0, is the type of the tag, while all else
is read behind the tag.
"""

from __future__ import annotations

from snnet.contract.links import LINK_GROUP

from . import drops

EXTENSIONS = "{ 0, 43, 44, 60 }"
"""Extension headers of IPv6 that the kernel looks behind for the upper layer (ipv6_find_hdr)."""

HIDDEN = f"frag nexthdr {EXTENSIONS}"
"""A fragment with further headers before its upper layer.

They may end where the packet ends.  The kernel reads on in the Ethernet padding, and receivers do
not: to them the next fragment says what the packet is.  Without further headers the upper layer
begins in the first fragment, which has at least 8 bytes.
"""

_NOTHING_NEW = "tcp flags & (syn | psh | fin | rst) == 0 meta length > 100"
"""So are most packets with data; they do not pay for a look who learns.  A keepalive probe has a
byte of data at most (RFC 9293, 3.8.4)."""

# What is no answer goes through the ``checked_`` chain of its direction.  What is left costs a
# packet as little as can be: each expression of nft is a call of its own.  A fragment at 8 bytes
# could change what the first one said (RFC 1858, 4.2).
_FILTER = f"""
chain guests_out {{ type filter hook prerouting priority {{early}}; policy accept; }}
chain guests_in {{ type filter hook postrouting priority {{late}}; policy accept; }}
chain always
chain always6
chain always6_out
chain always6_in
chain checked_out
chain checked_in
chain learn_out
chain learn_in
chain always @nh,48,16 & 0x1fff > 1 accept
chain always udp sport . udp dport {{ 68 . 67, 67 . 68 }} accept
chain always6 frag frag-off > 1 accept
chain always6 icmpv6 type {{ 133, 134, 135, 136 }} accept
chain always6 udp sport . udp dport {{ 546 . 547, 547 . 546 }} accept
chain always6_out {HIDDEN} goto drop-out
chain always6_out goto always6
chain always6_in {HIDDEN} goto drop-in
chain always6_in goto always6
chain checked_out {{kind}} vmap {{ {{others}}ip : goto always, ip6 : goto always6_out }}
chain checked_out goto drop-out
chain checked_in {{kind}} vmap {{ {{others}}ip : goto always, ip6 : goto always6_in }}
chain checked_in goto drop-in
chain guests_out iifname vmap @leaving_by
chain learn_out {_NOTHING_NEW} accept
chain learn_out iifname vmap @learners
chain guests_in oifname vmap @entering_by
chain learn_in {_NOTHING_NEW} accept
chain learn_in oifname vmap @learners
"""


def _filled(**words: str) -> str:
    text = _FILTER
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text


BRIDGED_KIND, ROUTED_KIND = "ether type", "meta protocol"
"""What tells the kind of a packet: of what is routed out there is no Ethernet header yet."""

BRIDGED = _filled(
    early="-200", late="0", kind=BRIDGED_KIND, others="arp : accept, 0x8035 : accept, "
)
# As the guest sees packets: before its own are translated, and after the others were.
ROUTED = _filled(early="-150", late="150", kind=ROUTED_KIND, others="")

# What is for bridges themselves (IEEE 802.1D) a bridge gives the host as received by the port, and
# not all of it to its own chains (br_handle_frame, net/bridge/br_input.c).  The rule knows links
# by their group, so that it needs no element for each port.  All links of all snnet nodes of the
# namespace have that group, and any link that somebody gives it.
CONFINE = f"""
chain confined {{ type filter hook input priority -10; policy accept; }}
chain confined meta iifgroup {LINK_GROUP:#x} \
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 goto {drops.BRIDGE}
{drops.chains(drops.BRIDGE)}"""
