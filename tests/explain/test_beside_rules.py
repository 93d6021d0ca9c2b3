"""What loses packets beside rules: traffic control, IPsec policies, and rules of routing.

Each is done to a real host, named by ``explain`` where the wire loses the packet, and taken back
by the command that it prints.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing

import pytest

from snnet.doctor.beside import losses
from snnet.explain import ipsec, queueing
from snnet.explain.question import LEFT, REACHED, Asker, Explanation
from snnet.explain.reading import _policies
from snnet.explain.world import World
from snnet.system.netns import in_netns

from .compare import Pair, ask
from .hosts import FORWARDED, HOST, OPEN, OUTSIDE, Host, local
from .wire import Wire

U32 = "protocol ip u32 match ip protocol 17 0xff action mirred egress redirect dev lo"


@pytest.fixture(scope="module")
def there() -> Iterator[tuple[Host, Wire]]:
    with closing(local("nftables")) as host, closing(Wire(host)) as wire:
        wire.wait()
        yield host, wire


def said(host: Host, pair: Pair) -> Explanation:
    return ask(Asker(World(host.snapshot())), pair)


IN, OUT = Pair("outside", HOST[0], "udp", OPEN), Pair("host", OUTSIDE[0], "tcp", OPEN)
OUT6 = Pair("host", OUTSIDE[1], "tcp", OPEN)
THROUGH, TO = Pair("outside", HOST[0], "tcp", FORWARDED), Pair("V9", "10.1.0.10", None, None)
CASES = [
    (["tc qdisc add dev eth0 root blackhole"], OUT, "discipline blackhole"),
    (["tc qdisc add dev V10 root blackhole"], TO, "discipline blackhole"),
    (["tc qdisc add dev eth0 root tbf rate 1kbit burst 10 limit 20"], OUT, "discipline tbf"),
    (["tc qdisc add dev eth0 ingress", f"tc filter add dev eth0 ingress {U32}"], IN, "mirred"),
    (["tc qdisc add dev V9 clsact", f"tc filter add dev V9 egress {U32.replace('17', '1')}"],
     Pair("V9", "10.1.0.10", None, None), "mirred"),
    (["ip xfrm policy add dir in src 192.0.2.0/24 dst 192.0.2.11 action block"], IN, "IPsec"),
    (["ip xfrm policy add dir out src ::/0 dst ::/0 action block",
      "ip xfrm policy add dir out src 0.0.0.0/0 dst 192.0.2.99 priority 9 tmpl src 192.0.2.11 "
      "dst 192.0.2.99 proto esp mode tunnel"], OUT, "encrypt"),
    (["ip xfrm policy add dir fwd src 0.0.0.0/0 dst 0.0.0.0/0 action block"], THROUGH, "IPsec"),
    (["ip xfrm policy setdefault in block"], IN, "block by default"),
    (["ip rule delete lookup main"], OUT, "no rule for table main"),
    (["ip rule add to 192.0.2.99 blackhole"], OUT, "chooses another table"),
    (["ip route add unreachable 192.0.2.99 metric 500"], OUT, "192.0.2.99 says unreachable"),
    (["ip route add throw 192.0.2.99"], IN, "192.0.2.99, where the answer goes, says throw"),
    (["ip -6 route add prohibit 2001:db8::99"], OUT6, "2001:db8::99 says prohibit"),
    (["ip route add local 192.0.2.99 dev lo"], IN, "this host's own"),
    (["ebtables-nft -t nat -I PREROUTING -j dnat --to-destination 02:00:00:00:00:77"], TO,
     "rule with handle"),
]  # fmt: skip
"""What is done, who no longer gets an answer, and what is said of it."""


@pytest.mark.kernel
@pytest.mark.parametrize(("done", "pair", "named"), CASES, ids=[case[0][-1] for case in CASES])
def test_it_is_named_and_taken_back(
    there: tuple[Host, Wire], done: list[str], pair: Pair, named: str
) -> None:
    host, wire = there
    first, second, *_ = host.guests
    names = {"V9": first.link, "V10": second.link}
    pair = Pair(names.get(pair.source, pair.source), pair.target, pair.protocol, pair.port)
    argvs = [[names.get(word, word) for word in shlex.split(line)] for line in done]
    try:
        for argv in argvs:
            host.run(*argv)
        found = said(host, pair)
        wire.forget()
        assert not wire.reaches(pair.source, pair.target, pair.protocol, pair.port, 0.4)
        assert found.outcome not in (REACHED, LEFT)
        assert named in found.why
        host.run(*shlex.split(found.fix.removeprefix("to see whether it is this rule: ")))
        assert said(host, pair).outcome in (REACHED, LEFT)
        assert wire.reaches(pair.source, pair.target, pair.protocol, pair.port, 3)
    finally:
        host.run("ip", "xfrm", "policy", "flush")
        for link in ("eth0", *names.values()):
            host.run("sh", "-c", f"tc qdisc delete dev {link} clsact 2>/dev/null || true")
            host.run("sh", "-c", f"tc qdisc delete dev {link} ingress 2>/dev/null || true")


@pytest.mark.kernel
def test_a_dormant_table_drops_nothing(there: tuple[Host, Wire]) -> None:
    host, wire = there
    text = (
        "add table inet site { flags dormant; }\n"
        "add chain inet site in { type filter hook input priority 0; policy drop; }"
    )
    host.run("nft", "-f", "-", text=text)
    try:
        assert wire.reaches(IN.source, IN.target, IN.protocol, IN.port, 3)
        assert said(host, IN).outcome == REACHED
    finally:
        host.run("nft", "delete", "table", "inet", "site")


@pytest.mark.kernel
def test_a_link_that_is_too_small_for_ipv6(there: tuple[Host, Wire]) -> None:
    """The guest has IPv6 all the same: on its side the link is as it was."""
    host, wire = there
    first, second, *_ = host.guests
    pair = Pair(first.link, "fd00:1::10", None, None)
    host.run("ip", "link", "set", second.link, "mtu", "1000")
    try:
        assert wire.reaches(pair.source, pair.target, None, None, 3)
        assert said(host, pair).outcome == REACHED
    finally:
        host.run("ip", "link", "set", second.link, "mtu", "1500")


@pytest.mark.kernel
def test_the_doctor_names_them(there: tuple[Host, Wire]) -> None:
    host, _ = there
    space = host.spaces[0]
    done = {
        "": ["ip rule delete lookup main", "ip xfrm policy setdefault in block"],
        space: ["tc qdisc add dev eth0 root blackhole"],
    }
    try:
        for where, commands in done.items():
            for command in commands:
                host.run(*command.split(), space=where)
        found = [*named(host, None), *named(host, space)]
        assert [what.partition(" (")[0] for what, _ in found] == [
            "an IPsec policy blocks packets",
            "ip rule: no rule for table main at its place",
            f"{space}: traffic control of eth0",
        ]
        for _, command in found:
            host.run(*command.split())
        assert not named(host, None)
        assert not named(host, space)
    finally:
        host.run("ip", "xfrm", "policy", "setdefault", "in", "accept")


def named(host: Host, space: str | None) -> list[tuple[str, str]]:
    return in_netns(host.host.netns.fd, lambda: list(losses(space)))


def test_rules_of_tables_are_usual_in_their_order() -> None:
    """Others move the rule for the table local, to have theirs looked up before it."""
    local, main, default = (
        {"priority": number, "src": "all", "table": table}
        for number, table in ((0, "local"), (32766, "main"), (32767, "default"))
    )
    assert not list(_policies("ip rule", [local, main, default]))
    assert not list(_policies("ip rule", [{**local, "priority": 100}, main]))
    assert not list(_policies("ip -6 rule", []))
    missing = {
        "what": "ip rule: no rule for table local at its place",
        "fix": "ip rule add lookup local pref 0",
        "missing": True,
    }
    assert list(_policies("ip rule", [main, {**local, "priority": 32768}])) == [missing]
    theirs = {"priority": 5, "src": "all", "table": "9"}
    another = {
        "what": "ip rule 5: src all table 9 chooses another table of routes",
        "fix": "ip rule delete pref 5",
        "missing": False,
    }
    assert list(_policies("ip rule", [local, theirs, main])) == [another]


def test_queues_that_lose_nothing_are_not_named() -> None:
    assert queueing._is_ample({"rate": 125000, "burst": 10240, "limit": 3000})
    assert not queueing._is_ample({"rate": 125, "burst": 10240, "limit": 3000})
    assert not queueing._STARVING.search("class htb 1:1 root prio 0 rate 8bit ceil 10Mbit")
    assert queueing._STARVING.search("class htb 1:1 root prio 0 rate 8bit ceil 8bit burst 225b")


def test_policies_are_read_in_the_order_of_the_kernel() -> None:
    text = (
        "src 192.0.2.0/24 dst 192.0.2.11/32 proto tcp dport 5 \n"
        "\tdir in action block priority 7 ptype main \n"
        "src 0.0.0.0/0 dst 192.0.2.99/32 \n\tdir out priority 0 ptype main \n"
        "\ttmpl src 192.0.2.11 dst 192.0.2.99\n\t\tproto esp reqid 0 mode tunnel\n"
    )
    rows = list(ipsec._policies(text))
    assert [(row["direction"], row["done"], row["priority"]) for row in rows] == [
        ("in", "block", 7), ("out", "encrypt", 0),
    ]  # fmt: skip
    assert rows[0]["remove"] == (
        "ip xfrm policy delete src 192.0.2.0/24 dst 192.0.2.11/32 proto tcp dport 5 dir in"
    )
