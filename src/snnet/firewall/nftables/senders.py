"""The static rules for what a guest may send at a bridge port: by IPv4, ARP, and as whom at all.

They come before br_netfilter passes a frame to the IP hooks (NF_BR_PRI_BRNF), which reassemble
fragments and track connections of all tenants together.  Most frames are of IPv4 with an address of
their guest.  So these are looked for first, and pay for little more.

"ether type" of a frame with a VLAN tag, even of VLAN 0, is the type of the tag.
"""

from __future__ import annotations

# 288 bits after the UDP header begins, a message to a DHCP server has the client's MAC (chaddr,
# RFC 2131, 2).  The source 0.0.0.0 of a guest is for ARP probes (RFC 5227, 1.1), for DHCP clients
# (RFC 2131, 4.1) and for IGMP of guests without an address (RFC 3376, 4.2.13).  QEMU
# announces a migrated guest by RARP (0x8035).
#
# A listing leaves out "ether type ip" before "ip saddr", so the chain ``sender4`` has the opposite:
# else rules that were saved and loaded again would let frames with tags pass.
RULES = """
chain prerouting { type filter hook prerouting priority -310; policy accept; }
chain bridged
chain routed
chain sender4
chain nobody4
chain dhcp4
chain guard
chain client
chain prerouting iifname vmap @untracking
chain prerouting iifname . ether saddr . ip saddr @sources goto sender4
chain prerouting udp dport 67 iifname @clients jump client
chain prerouting iifname @guarded goto guard
chain bridged notrack
chain routed iifname . ether daddr @routers return
chain routed notrack
chain sender4 ether type != ip goto drop-address
chain sender4 meta l4proto != udp accept
chain sender4 udp sport 67 goto drop-dhcp
chain sender4 udp dport 67-68 goto dhcp4
chain sender4 accept
chain dhcp4 udp dport 68 goto drop-dhcp
chain dhcp4 iifname @clients jump client
chain dhcp4 accept
chain nobody4 udp sport != 68 goto drop-address
chain nobody4 meta l4proto != { udp, igmp } goto drop-address
chain nobody4 accept
chain client ip frag-off & 0x3fff != 0 goto drop-dhcp
chain client iifname . @th,288,48 != @leases goto drop-dhcp
chain guard iifname . ether saddr @own ether type 0x8035 accept
chain guard ether type != { ip, ip6, arp } goto drop-address
chain guard iifname . ether saddr . arp saddr ip @sources \
    iifname . arp saddr ether . arp saddr ip @sources accept
chain guard iifname . ether saddr @own iifname . arp saddr ether @own arp saddr ip 0.0.0.0 accept
chain guard iifname . ether saddr @own iifname . arp saddr ether @own \
    iifname . arp saddr ip @ranges accept
chain guard ether type ip udp sport 67 goto drop-dhcp
chain guard ether type ip udp dport 68 goto drop-dhcp
chain guard iifname . ether saddr @own ip saddr 0.0.0.0 goto nobody4
chain guard iifname . ether saddr @own iifname . ip saddr @ranges accept
chain guard ether type ip6 goto sender6
chain guard goto drop-address
"""
