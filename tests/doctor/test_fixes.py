"""The command beneath each finding."""

from __future__ import annotations

import pytest

from snnet.doctor.fixes import ADVICE, REPAIR, fix_of


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("missing: accept through bridge snb-a", REPAIR),
        ("different: bridge snb-a mtu 1300, should be: bridge snb-a mtu 1450", REPAIR),
        ("different: sysctl net.ipv4.x=0, should be: sysctl net.ipv4.x=1", REPAIR),
        ("unexpected: address 10.1.0.200/24 dev snb-a", REPAIR),
        ("table inet snnet-cn-a is not as snnet made it (set x lacks 1): call repair()", REPAIR),
        ("uplink eth0: is down -> should be up: ip link set eth0 up", "ip link set eth0 up"),
        (
            "uplink eth0: mtu is 1400 -> should be 1500: ip link set eth0 mtu 1500, or start the "
            "node again",
            "ip link set eth0 mtu 1500",
        ),
        (
            "route 2001:db8::/64 dev m: cannot add it: File exists (EEXIST); somebody's route has "
            "its place: ip route delete 2001:db8::/64",
            "ip route delete 2001:db8::/64",
        ),
        ("x: is 0 -> should be 1: sysctl -w net.ipv4.x=1", "sysctl -w net.ipv4.x=1"),
        ("way to 192.0.2.10: is closed -> should be open: ip route get 192.0.2.10", ADVICE),
        ("way to 10.1.0.0/24: is closed -> should be by snb-a: see ip rule, ip route", ADVICE),
        ("default route: is gone -> should be there: ip route add default via ...", ADVICE),
        (
            "table ip site, chain f (hook forward) drops what snnet lets through: from a to b, by "
            "its policy; have its owner accept them there",
            "have its owner accept them there",
        ),
        (
            "iptables-nft table filter, chain INPUT (hook input) drops what snnet needs: DHCP "
            "(udp/67) from b; have its owner accept them there, or: iptables-nft -t filter -I "
            "INPUT -i b -p udp --dport 67 -j ACCEPT",
            "iptables-nft -t filter -I INPUT -i b -p udp --dport 67 -j ACCEPT",
        ),
        (
            "iptables-legacy table filter, chain FORWARD: its policy drops what snnet lets pass by "
            "iptables: through br1; use one iptables for all, or: iptables-legacy -t filter -I "
            "FORWARD -i br1 -o br1 -j ACCEPT",
            "iptables-legacy -t filter -I FORWARD -i br1 -o br1 -j ACCEPT",
        ),
        (
            "iptables table filter, chain FORWARD: a foreign rule decides before those of snnet "
            "('x', 1 in all): put C first again (iptables -t filter -D FORWARD -j C; iptables -t "
            "filter -I FORWARD -j C)",
            "iptables -t filter -D FORWARD -j C; iptables -t filter -I FORWARD -j C",
        ),
        ("compute_nets: no link has an address in 192.0.2.0/24; seen: lo: the loopback", ADVICE),
    ],
)  # fmt: skip
def test_each_finding_has_its_command(line: str, fix: str) -> None:
    assert fix_of(line) == fix
