"""What a walk of others' rules says of a packet is what the kernel does with it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from snnet.contract import HostPacket
from snnet.firewall.nft import Nft
from snnet.firewall.others.look import stops
from snnet.system.netns import in_netns, open_netns
from snnet.system.process import run
from tests.conftest import ip

HOST, PEER, PORT = "192.0.2.11", "192.0.2.10", 20001
ARRIVES = HostPacket(
    what="packets of tunnels",
    incoming=True,
    link="eth0",
    protocol="udp",
    source=ip_address(PEER),
    target=ip_address(HOST),
    target_port=PORT,
)
LEAVES = replace(ARRIVES, incoming=False, source=ARRIVES.target, target=ARRIVES.source)


def table(chain: str, *rules: str, family: str = "inet", more: str = "") -> list[str]:
    lines = [
        f"add table {family} theirs",
        *more.splitlines(),
        f"add chain {family} theirs one {{ {chain} }}",
        *(f"add rule {family} theirs {'' if ' in ' in rule else 'one '}{rule}" for rule in rules),
    ]
    return ["nft -f -", "\n".join(line.replace(" in ", " ", 1) for line in lines)]


INPUT = "type filter hook input priority 0; policy accept;"
CLOSED = "type filter hook input priority 10; policy drop;"
RAW = "type filter hook prerouting priority -300;"
OUTPUT = "type filter hook output priority 0; policy accept;"
NAT = "type nat hook prerouting priority -100;"
OTHERS_PORT = f"{PORT + 1}-{PORT + 9}"

NFT: dict[str, list[str]] = {
    "nothing": table(INPUT),
    "a policy": table(CLOSED),
    "a policy, answers pass": table(CLOSED, "ct state established,related accept"),
    "a policy, the port passes": table(CLOSED, f"udp dport {PORT} accept"),
    "a policy, a range passes": table(CLOSED, f"udp dport {PORT - 1}-{PORT + 1} accept"),
    "a policy, another range passes": table(CLOSED, f"udp dport {OTHERS_PORT} accept"),
    "a policy, the peer passes": table(CLOSED, f"ip saddr {PEER}/30 accept"),
    "a policy, the link passes": table(CLOSED, 'iifname "eth*" accept'),
    "a policy, new ones pass": table(CLOSED, "ct state new accept"),
    "a policy, all but a net pass": table(CLOSED, "ip saddr != 10.0.0.0/8 accept"),
    "a policy, a set passes": table(
        CLOSED,
        "udp dport @open accept",
        more=f"add set inet theirs open {{ type inet_service; elements = {{ {PORT} }} ; }}",
    ),
    "a policy, another set passes": table(
        CLOSED,
        "udp dport @open accept",
        more="add set inet theirs open { type inet_service; elements = { 53 } ; }",
    ),
    "a port": table(INPUT, f"udp dport {PORT} drop"),
    "another port": table(INPUT, f"udp dport {PORT + 1} drop"),
    "ports": table(INPUT, f"udp dport {{ 53, {PORT} }} counter reject"),
    "ports of tcp": table(INPUT, f"tcp dport {PORT} drop"),
    "ports of any protocol": table(INPUT, f"th dport {PORT} drop"),
    "the protocol": table(INPUT, "meta l4proto udp drop"),
    "the protocol by number": table(INPUT, "ip protocol 17 drop"),
    "another protocol": table(INPUT, "meta l4proto { tcp, icmp } drop"),
    "new ones": table(INPUT, "ct state new drop"),
    "invalid ones": table(INPUT, "ct state invalid drop"),
    "a state map": table(INPUT, "ct state vmap { established : accept, new : drop }"),
    "a map of links": table(INPUT, 'iifname vmap { "lo" : accept, "eth0" : drop }'),
    "a map of other links": table(INPUT, 'iifname vmap { "lo" : drop, "wan0" : drop }'),
    "broadcasts": table(INPUT, "fib daddr type broadcast drop"),
    "what is local": table(INPUT, "fib daddr type local drop"),
    "before routing": table(RAW, f"iifname eth0 udp dport {PORT} drop"),
    "in family ip": table(INPUT, "ip saddr 192.0.2.0/24 drop", family="ip"),
    "in family ip6": table(CLOSED, family="ip6"),
    "a rate": table(INPUT, "limit rate over 1000/second drop"),
    "a chain that is jumped to": table(
        INPUT, f"zone in udp dport {PORT} reject", "jump zone", more="add chain inet theirs zone"
    ),
    "a chain that returns": table(
        INPUT,
        "zone in ip saddr 192.0.2.0/24 return",
        "zone in drop",
        "jump zone",
        more="add chain inet theirs zone",
    ),
    "a chain that is gone to": table(
        CLOSED, "zone in tcp dport 22 accept", "goto zone", more="add chain inet theirs zone"
    ),
    "a chain within a rule": table(
        INPUT, "ip saddr 192.0.2.77 jump { udp dport 1-65535 accept; }", f"udp dport {PORT} drop"
    ),
    "on its way out": table(OUTPUT, 'oifname "eth0" drop'),
    "on its way out, another link": table(OUTPUT, 'oifname "eth1" drop'),
    "on its way out, by port": table(OUTPUT, f"udp dport {PORT} reject"),
    "after routing": table("type filter hook postrouting priority 0;", "ip daddr 192.0.2.10 drop"),
    "forwarded alone": table("type filter hook forward priority 0; policy drop;"),
    "led away": table(NAT, f"udp dport {PORT} redirect to :9", family="ip"),
    "led away by another port": table(NAT, "udp dport 53 redirect to :9", family="ip"),
}

IPTABLES: dict[str, list[str]] = {
    "a policy": ["-P INPUT DROP"],
    "a policy, the port passes": ["-P INPUT DROP", f"-A INPUT -p udp --dport {PORT} -j ACCEPT"],
    "a policy, ssh passes": [
        "-P INPUT DROP",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -p tcp --dport 22 -j ACCEPT",
    ],
    "a policy, some links pass": ["-P INPUT DROP", "-A INPUT -i eth+ -j ACCEPT"],
    "a policy, all other links pass": ["-P INPUT DROP", "-A INPUT ! -i eth1 -j ACCEPT"],
    "ports": [f"-A INPUT -p udp -m multiport --dports 53,{PORT - 1}:{PORT + 1} -j REJECT"],
    "other ports": [
        f"-A INPUT -p udp -m multiport --dports 53,{OTHERS_PORT.replace('-', ':')} -j DROP"
    ],
    "a source": ["-A INPUT -s 192.0.2.0/24 -j DROP"],
    "another source": ["-A INPUT ! -s 192.0.2.0/24 -j DROP"],
    "new ones": ["-A INPUT -m state --state NEW -j DROP"],
    "broadcasts": ["-A INPUT -m addrtype --dst-type BROADCAST -j DROP"],
    "what is local": ["-A INPUT -m addrtype --dst-type LOCAL -j DROP"],
    "like ufw": [
        "-P INPUT DROP",
        "-N ufw-before",
        "-N ufw-not-local",
        "-A INPUT -j ufw-before",
        "-A ufw-before -m conntrack --ctstate INVALID -j DROP",
        "-A ufw-before -p udp --sport 67 --dport 68 -j ACCEPT",
        "-A ufw-before -j ufw-not-local",
        "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
        "-A ufw-not-local -j DROP",
    ],
    "like ufw, opened": [
        "-P INPUT DROP",
        "-N user",
        "-A INPUT -j user",
        f"-A user -s {PEER} -p udp --dport {PORT} -j ACCEPT",
    ],
    "a chain that is gone to": [
        "-P INPUT DROP",
        "-N user",
        "-A INPUT -g user",
        "-A user -j RETURN",
    ],
    "raw": [f"-t raw -A PREROUTING -p udp --dport {PORT} -j DROP"],
    "mangle": ["-t mangle -A INPUT -i eth0 -j DROP"],
    "a log and a mark": ["-A INPUT -j LOG", "-t mangle -A INPUT -j MARK --set-mark 1"],
    "out": ["-A OUTPUT -o eth0 -p udp -j DROP"],
    "out, by policy": ["-P OUTPUT DROP"],
    "forwarded alone": ["-P FORWARD DROP"],
    "led away": [f"-t nat -A PREROUTING -p udp --dport {PORT} -j REDIRECT --to-ports 9"],
}

STATES: dict[str, tuple[str, list[str]]] = {
    "new ones pass": ("nft", table(CLOSED, "ct state new accept")),
    "untracked ones pass": ("nft", table(CLOSED, "ct state untracked accept")),
    "new ones": ("nft", table(INPUT, "ct state new drop")),
    "all but new ones": ("nft", table(INPUT, "ct state != new drop")),
    "those not known yet": (
        "nft",
        table("type filter hook prerouting priority -310;", "ct state invalid drop"),
    ),
    "those known soon": (
        "nft",
        table("type filter hook prerouting priority -250;", "ct state invalid drop"),
    ),
    "new ones pass iptables": (
        "iptables-nft",
        ["-P INPUT DROP", "-A INPUT -m conntrack --ctstate NEW -j ACCEPT"],
    ),
    "untracked ones pass iptables": (
        "iptables-nft",
        ["-P INPUT DROP", "-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT"],
    ),
}

CASES = [
    *(pytest.param("nft", NFT[name], id=f"nft-{name}") for name in NFT),
    *(
        pytest.param(variant, IPTABLES[name], id=f"{variant}-{name}")
        for variant in ("iptables-nft", "iptables-legacy")
        for name in IPTABLES
    ),
]


@dataclass
class Wire:
    host: int
    peer: int


@pytest.fixture
def wire(make_netns: Callable[[], str]) -> Iterator[Wire]:
    host, peer = make_netns(), make_netns()
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer, netns=host)
    for name, address in ((host, HOST), (peer, PEER)):
        ip("link", "set", "eth0", "up", netns=name)
        ip("address", "add", f"{address}/24", "dev", "eth0", netns=name)
    made = Wire(open_netns(host), open_netns(peer))
    yield made
    os.close(made.host)
    os.close(made.peer)


def passes(sender: int, receiver: int, target: str, *, expected: bool) -> bool:
    """Whether a datagram arrives; a busy machine may deliver the first ones too late."""
    tries = 20 if expected else 2
    return any(arrives(sender, receiver, target) for _ in range(tries))


def arrives(sender: int, receiver: int, target: str) -> bool:
    """Whether one datagram of a new flow arrives soon."""

    def open_socket() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with in_netns(receiver, open_socket) as listening, in_netns(sender, open_socket) as sending:
        listening.bind((target, PORT))
        listening.settimeout(0.3)
        try:
            sending.sendto(b"?", (target, PORT))
            return listening.recv(9) == b"?"
        except OSError:
            return False


@pytest.mark.kernel
@pytest.mark.parametrize(("program", "rules"), CASES)
def test_the_walk_and_the_kernel_agree(wire: Wire, program: str, rules: list[str]) -> None:
    set_rules(wire, program, rules)
    check(wire, ARRIVES, LEAVES)


@pytest.mark.kernel
def test_a_table_with_many_addresses_is_read_once(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sets may have a hundred thousand, and nft takes seconds to print them."""
    asked: list[list[str]] = []
    original = Nft.run

    def spied(self: Nft, commands: list[str], **options: bool) -> str:
        asked.append(commands)
        return original(self, commands, **options)

    monkeypatch.setattr(Nft, "run", spied)
    addresses = ", ".join(f"203.0.113.{number}" for number in range(200))
    for family in ("inet", "ip"):
        more = f"add set {family} theirs black {{ type ipv4_addr; elements = {{ {addresses} }}; }}"
        rule = "ip saddr @black drop"
        run(
            ["nft", "-f", "-"],
            input=table(INPUT, rule, family=family, more=more)[1],
            netns=wire.host,
        )
    assert stops(wire.host, [ARRIVES]) == []
    assert len(stops(wire.host, [replace(ARRIVES, source=ip_address("203.0.113.77"))])) == 2
    assert asked == 2 * [["list table inet theirs"], ["list table ip theirs"]]


_NOTRACK = f"""
table inet snnet-cn-1 {{
  chain arriving {{ type filter hook prerouting priority raw; udp dport {PORT} notrack; }}
  chain leaving {{ type filter hook output priority raw; udp dport {PORT} notrack; }}
}}
"""


@pytest.mark.kernel
@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
@pytest.mark.parametrize("name", STATES)
def test_they_agree_on_states(wire: Wire, name: str, tracked: bool) -> None:
    if not tracked:
        run(["nft", "-f", "-"], input=_NOTRACK, netns=wire.host)
    set_rules(wire, *STATES[name])
    check(wire, replace(ARRIVES, untracked=not tracked))


def set_rules(wire: Wire, program: str, rules: list[str]) -> None:
    if program == "nft":
        run(rules[0].split(), input=rules[1] + "\n", netns=wire.host)
    else:
        for rule in rules:
            run([program, *rule.split()], netns=wire.host)


def check(wire: Wire, *packets: HostPacket) -> None:
    for packet in packets:
        ends = (wire.peer, wire.host) if packet.incoming else (wire.host, wire.peer)
        lines = stops(wire.host, [packet])
        passed = passes(*ends, str(packet.target), expected=not lines)
        assert (lines == []) is passed, (packet, lines)
        assert all("what snnet needs: packets of tunnels (udp/20001)" in line for line in lines)
        for line in lines:  # what it says to do lets them pass
            run(line.rpartition(", or: ")[2].split(), netns=wire.host)
        assert stops(wire.host, [packet]) == []
        assert passes(*ends, str(packet.target), expected=True)
