"""Who may say what: the rules for packets and frames of guests, before anything else sees them."""

from __future__ import annotations

from snnet.contract import AntiSpoof, HostIsolation
from snnet.firewall import reasons

from . import layout
from .layout import RAW, Chains

_LINK_LOCAL = "01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0"
"""Frames that a bridge consumes before PREROUTING (IEEE 802.1D; br_handle_frame)."""


def raw(made: Chains) -> None:
    """Write the checks of IP sources on links that are not bridge ports."""
    sources, out = made.chain(layout.SOURCES), made.content
    version = 4 if made.section == RAW else 6
    for rule in made.all(AntiSpoof):
        if rule.bridged:
            continue
        chain, mac = made.chain(layout.SOURCES, rule.link), f"-m mac --mac-source {rule.mac}"
        out.add(sources, rule, f"-i {rule.link} -g {chain}")
        if version == 4:
            out.drop(chain, rule, reasons.DHCP, "-p udp -m udp --sport 67")
            asks = "-s 0.0.0.0 -d 255.255.255.255 -p udp -m udp --sport 68 --dport 67"
            out.add(chain, rule, f"{asks} {mac} -j RETURN")
            for address in rule.addresses:
                out.add(chain, rule, f"-s {address} {mac} -j RETURN")
        out.drop(chain, rule, reasons.ADDRESS, "")
    out.jump(sources, "PREROUTING")


def ports(made: Chains) -> None:
    """Write the checks of frames on bridge ports, before the bridge learns their source.

    IPv6 is dropped: guests that have it are nftables' (``lent.py``).

    All matches are positive.  A negated match does not match a packet without that field
    (an ARP packet of another hardware type, say), and would let it pass.
    """
    sources, out = made.chain(layout.SOURCES), made.content
    for rule in made.all(AntiSpoof):
        chain = made.chain(layout.SOURCES, rule.link)
        out.add(sources, rule, f"-i {rule.link} -j {chain}")
        arp, udp = f"-p ARP --arp-mac-src {rule.mac}", "-p IPv4 --ip-proto udp"
        out.drop(chain, rule, reasons.ADDRESS, f"-s ! {rule.mac}")
        out.drop(chain, rule, reasons.DHCP, f"{udp} --ip-sport 67", f"{udp} --ip-dport 68")
        out.add(
            chain,
            rule,
            "-p IPv4 --ip-src 0.0.0.0 --ip-dst 255.255.255.255"
            " --ip-proto udp --ip-sport 68 --ip-dport 67 -j RETURN",
            "-p IPv4 --ip-src 0.0.0.0 --ip-proto igmp -j RETURN",
            "-p RARP -j RETURN",
            f"{arp} --arp-op Request --arp-ip-src 0.0.0.0 -j RETURN",
        )
        for address in rule.addresses:
            out.add(chain, rule, f"-p IPv4 --ip-src {address} -j RETURN")
            out.add(chain, rule, f"{arp} --arp-ip-src {address} -j RETURN")
        out.drop(chain, rule, reasons.ADDRESS, "")
    out.jump(sources, "PREROUTING")


def ports_input(made: Chains) -> None:
    """Write the checks of what a bridge gives the host instead of its own chains."""
    chain, out = made.chain(layout.INPUT), made.content
    for rule in made.all(AntiSpoof):
        out.drop(chain, rule, reasons.BRIDGE, f"-i {rule.link} -d {_LINK_LOCAL}")
    out.jump(chain, "INPUT")


def neighbours(made: Chains) -> None:
    """Write the rules by which the host answers no ARP."""
    chain, out = made.chain(layout.INPUT), made.content
    for rule in made.all(HostIsolation):
        out.drop(chain, rule, reasons.HOST, f"-i {rule.link} --opcode 1")
    out.jump(chain, "INPUT")
