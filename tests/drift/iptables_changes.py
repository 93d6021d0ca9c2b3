"""The foreign changes of rules where nodes have the firewall ``iptables``."""

from __future__ import annotations

from collections.abc import Iterator

from snnet.firewall.iptables import layout
from snnet.firewall.iptables.layout import chain

from .changes import Foreign

CN, HUB = "cn:cn-1", "cnci:cnci-1"
_LENT_CN, _LENT_HUB = "snnet-iptablescn-cn-1", "snnet-iptablescnci-cnci-1"


def repaired() -> Iterator[Foreign]:
    """Yield the changes of what is the nodes' own."""
    forward, dnat = chain(HUB, layout.FORWARD), chain(HUB, layout.DNAT)
    snat, exits = chain(HUB, layout.SNAT), chain(HUB, layout.EXIT)
    services, records = chain(HUB, layout.SERVICES), chain(HUB, layout.RECORDS)
    isolated, ports = chain(CN, layout.INPUT), chain(CN, layout.SOURCES)
    for what, host, script in (
        ("all rules flushed", "hub", "nft flush ruleset"),
        ("all rules flushed, compute node", "cn", "nft flush ruleset"),
        ("filter flushed", "hub", "iptables -F"),
        ("filter of IPv6 flushed", "hub", "ip6tables -F"),
        ("chains deleted", "hub", "iptables -F; iptables -X"),
        ("nat flushed", "hub", "iptables -t nat -F"),
        ("nat's chains deleted", "hub", "iptables -t nat -F; iptables -t nat -X"),
        ("nat table gone", "hub", "nft delete table ip nat"),
        ("a chain flushed", "hub", f"iptables -F {exits}"),
        ("records flushed", "hub", f"iptables -F {records}"),
        ("records of nat flushed", "hub", f"iptables -t nat -F {records}"),
        ("a jump gone", "hub", f"iptables -D FORWARD -j {forward}"),
        ("a jump to nat gone", "hub", f"iptables -t nat -D PREROUTING -j {dnat}"),
        ("a jump twice", "hub", f"iptables -A FORWARD -j {forward}"),
        ("a forward elsewhere", "hub", f"iptables -t nat -R {dnat} 1 -j ACCEPT"),
        ("masquerade gone", "hub", f"iptables -t nat -F {snat}"),
        ("services open", "hub", f"iptables -I {services} -j RETURN"),
        ("a rule in a chain", "hub", f"iptables -I {forward} -j DROP"),
        ("a rule in a chain, accepting", "hub", f"iptables -I {forward} -j ACCEPT"),
        ("a rule at the end of a chain", "hub", f"iptables -A {forward} -j ACCEPT"),
        ("an accept instead of a drop", "cn", f"iptables -R {isolated} 1 -j ACCEPT"),
        ("an accept of IPv6 instead", "cn", f"ip6tables -I {isolated} 1 -j ACCEPT"),
        ("isolation gone", "cn", f"iptables -F {isolated}"),
        ("ARP answered", "cn", "arptables -F"),
        ("ARP answered in a chain", "cn", f"arptables -F {isolated}"),
        ("frames of ports flushed", "cn", "ebtables -t nat -F"),
        ("frames of ports accepted", "cn", f"ebtables -t nat -I {ports} 1 -j ACCEPT"),
        ("a policy of a chain of frames", "cn", f"ebtables -t nat -P {ports} ACCEPT"),
        ("lent table gone", "hub", f"nft delete table bridge {_LENT_HUB}"),
        ("lent table gone, compute node", "cn", f"nft delete table bridge {_LENT_CN}"),
        ("frames tracked", "cn", f"nft flush map bridge {_LENT_CN} untracking"),
        ("DHCP of others", "cn", f"nft flush set bridge {_LENT_CN} leases"),
        ("tunnels open", "cn", f"nft flush chain inet {_LENT_CN} input"),
    ):
        yield Foreign(what, host, script)
    yield Foreign(
        "an accept before a jump",
        "hub",
        "iptables -I INPUT 1 -j ACCEPT; iptables -I FORWARD 1 -j ACCEPT",
        "iptables -D INPUT -j ACCEPT; iptables -D FORWARD -j ACCEPT",
    )


def named() -> Iterator[Foreign]:
    """Yield the changes of what is others'."""
    base = "{ type filter hook forward priority 0; policy drop; }"
    theirs = f"nft add table inet theirs; nft 'add chain inet theirs x {base}'"
    yield Foreign("drop by nftables", "hub", theirs, "nft delete table inet theirs")
    for what, host, program, do, undo in (
        ("policy of INPUT", "hub", "iptables", "-P INPUT DROP", "-P INPUT ACCEPT"),
        ("policy of INPUT, tunnels", "cn", "iptables", "-P INPUT DROP", "-P INPUT ACCEPT"),
        ("drop of DHCP", "hub", "iptables", f"-A INPUT {_DHCP}", f"-D INPUT {_DHCP}"),
        ("drop in raw", "hub", "iptables", f"-t raw -A {_ANY}", f"-t raw -D {_ANY}"),
        ("drop in raw, tunnels", "cn", "iptables", f"-t raw -A {_ANY}", f"-t raw -D {_ANY}"),
        ("other iptables", "hub", "iptables-legacy", "-P FORWARD DROP", "-P FORWARD ACCEPT"),
    ):
        yield Foreign(what, host, f"{program} {do}", f"{program} {undo}")


_DHCP, _ANY = "-p udp --dport 67 -j DROP", "PREROUTING -p udp -j DROP"
