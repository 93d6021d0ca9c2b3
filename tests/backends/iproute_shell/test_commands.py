"""What is printed is what is run, and does the same when it is pasted."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from snnet.backends.iproute2 import render
from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    Add,
    Bridge,
    Change,
    DhcpScope,
    Link,
    Macvtap,
    Noun,
    Operation,
    Other,
    Redirect,
    Remove,
    Sysctl,
    Tap,
)

from .conftest import Opener, state
from .nouns import BRIDGE, CHANGES, GROUND, LINKS, NON_LINKS, TAP

FORWARD = Change(
    Sysctl(name="net.ipv4.ip_forward", value="1"), Sysctl(name="net.ipv4.ip_forward", value="0")
)


@pytest.mark.parametrize(
    ("operation", "lines"),
    [
        (
            Add(replace(BRIDGE, name="b", alias="the bridge's")),
            [
                "ip link add name b group 1936617076 address 02:00:00:00:00:01 "
                "type bridge forward_delay 0 stp_state 0",
                "ip link set dev b alias 'the bridge'\"'\"'s' mtu 1450",
                "ip link set dev b addrgenmode none",
                "sysctl -e -w net.ipv6.conf.b.accept_ra=0 net.ipv6.conf.b.accept_redirects=0 "
                "net.ipv6.conf.b.disable_ipv6=0",
                "ip link set dev b up",
            ],
        ),
        (
            Add(TAP),
            [
                "ip tuntap add dev tap mode tap user 0",
                "ip link set dev tap group 1936617076 alias 'a '\"'\"'port'\"'\"' of #1' "
                "address fe:00:00:00:00:07 mtu 1400 master br",
                "sysctl -e -w net.ipv6.conf.tap.disable_ipv6=1",
                "ip link set dev tap up",
            ],
        ),
        (
            Add(Tap(name="t.1", queues=2, proxy_arp=True)),
            [
                "ip tuntap add dev t.1 mode tap user 0 multi_queue vnet_hdr",
                "# no command opens the 2 queues: use the ioctl TUNSETIFF",
                "ip link set dev t.1 group 1936617076",
                "ip link set dev t.1 addrgenmode none",
                "sysctl -w net.ipv4.conf.t/1.proxy_arp=1",
                "sysctl -w net.ipv4.neigh.t/1.proxy_delay=0",
                "sysctl -e -w net.ipv6.conf.t/1.accept_ra=0 net.ipv6.conf.t/1.accept_redirects=0 "
                "net.ipv6.conf.t/1.disable_ipv6=0",
                "ip link set dev t.1 up",
            ],
        ),
        (Remove(TAP), ["ip link delete dev tap"]),
        (Change(TAP, TAP), []),
        (
            Change(replace(TAP, master=None, up=False, alias=""), TAP),
            ["ip link set dev tap alias '' nomaster down"],
        ),
        (Add(NON_LINKS[4]), ["ip route add 10.3.0.0/24 via 10.1.0.9 dev br proto 4"]),
        (Remove(NON_LINKS[4]), ["ip route delete 10.3.0.0/24 via 10.1.0.9 dev br proto 4"]),
        (Add(NON_LINKS[13]), ["ip neighbour add proxy 10.9.0.9 dev br protocol 115"]),
        (
            Change(NON_LINKS[11], NON_LINKS[11]),
            ["ip neighbour change 10.1.0.9 lladdr 02:00:00:00:00:0b nud permanent dev br"],
        ),
        (
            Change(NON_LINKS[15], NON_LINKS[15]),
            ["bridge fdb replace 02:00:00:00:00:0c dev mesh dst 192.0.2.9 self permanent"],
        ),
        (
            Add(NON_LINKS[16]),
            ["bridge fdb append 00:00:00:00:00:00 dev mesh dst 192.0.2.9 self permanent"],
        ),
        (Add(NON_LINKS[17]), ["bridge fdb add 02:00:00:00:00:0c dev member master static"]),
        (Remove(NON_LINKS[17]), ["bridge fdb delete 02:00:00:00:00:0c dev member master static"]),
        (
            Change(replace(TAP, settings=(("bridge_slave hairpin", 1),)), TAP),
            ["ip link set dev tap type bridge_slave hairpin on"],
        ),
        (
            Add(NON_LINKS[18]),
            [
                "tc qdisc replace dev up root handle 736e: tbf rate 50000000bit "
                "burst 73728 limit 386228"
            ],
        ),
        (Remove(NON_LINKS[18]), ["tc qdisc delete dev up root handle 736e:"]),
        (
            Add(NON_LINKS[21]),
            [
                "tc qdisc replace dev up clsact",
                "tc filter add dev up ingress protocol all pref 29550 u32 match u32 0 0 "
                "action mirred egress redirect dev block",
            ],
        ),
        (
            Remove(NON_LINKS[21]),
            [
                "tc filter delete dev up ingress protocol all pref 29550",
                "# if no filter is left there: tc qdisc delete dev up clsact",
            ],
        ),
        (FORWARD, ["sysctl -w net.ipv4.ip_forward=1"]),
        (
            Add(FORWARD.noun),
            ["# a parameter cannot be added or removed: net.ipv4.ip_forward"],
        ),
        (
            Add(Other(name="wg0", other_kind="wireguard")),
            ["# snnet cannot create links of kind wireguard: wg0"],
        ),
        (
            Add(DhcpScope(link="br", subnets=(IPv4Network("10.0.0.0/24"),), mtu=1400)),
            ["# add dhcp 10.0.0.0/24 mtu 1400 dev br"],
        ),
    ],
    ids=str,
)
def test_lines(operation: Operation, lines: list[str]) -> None:
    assert render(operation) == lines


def test_a_macvtap_gets_an_index_of_its_own() -> None:
    """One that no /dev/tap node of another namespace has; a given one stays."""
    noun = Macvtap(name="m", lower="eth0")
    first, second = render(Add(noun))[0], render(Add(noun))[0]
    assert first != second
    index = re.fullmatch(r"ip link add link eth0 name m index (\d+) .*", first)
    assert index is not None
    assert int(index[1]) >= 1 << 20
    assert "index 77 " in render(Add(replace(noun, index=77)))[0]


def test_who_prints_loads_nothing_that_runs() -> None:
    code = (
        "import sys; from snnet.backends.iproute2 import render;"
        "assert 'subprocess' not in sys.modules, 'subprocess'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Lines for ip -batch


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("plain", "plain"),
        ("a b", "'a b'"),
        ("it's", "it's"),
        ("'quoted'", "\"'quoted'\""),
        ("it's a", '"it\'s a"'),
        ("", "''"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_a_word_that_can_be_quoted(word: str, line: str) -> None:
    assert shell._lines([["ip", "x", word, "y"]]) == [f"x {line} y"]


@pytest.mark.parametrize("word", ["#", "a\nb", "'\"", "back\\"])
def test_a_word_that_cannot(word: str) -> None:
    """Its command gets a process of its own, and so do those of other programs."""
    commands = [["ip", "a"], ["ip", word], ["ip", "b"]]
    assert shell._lines(commands) == ["a"]
    assert shell.Shell.together(commands[1:]) == 1
    assert shell._lines([["ip", "a"], ["sysctl", "b"]]) == ["a"]


# On the kernel


def operations() -> list[Any]:
    """Everything that can be done to every noun."""
    made: list[Any] = []
    for item in [*LINKS, *NON_LINKS]:
        if isinstance(item, Noun):
            made.append([Add(item), Remove(item)])
        else:
            noun = item.values[0]
            made.append(pytest.param([Add(noun), Remove(noun)], marks=item.marks))
    for old, fields in CHANGES:
        change = Change(replace(old, **fields), old)
        made.append([Add(old), change, change.inverse(), Remove(old)])
    return [*made, [FORWARD]]


@pytest.mark.kernel
@pytest.mark.parametrize("steps", operations(), ids=lambda steps: str(steps[-1]))
def test_what_is_printed_is_run(
    backend: IprouteShellBackend,
    done: Callable[..., Any],
    ran: list[list[str]],
    steps: list[Operation],
) -> None:
    done(*map(Add, GROUND))
    for operation in steps:
        ran.clear()
        # A command that only what is found decides about is printed as a comment.
        printed = [shlex.split(re.sub("^# if .*?: ", "", line)) for line in render(operation)]
        done(operation)
        if isinstance(operation.noun, Macvtap) and not operation.noun.index:
            for words in (*ran, *printed):
                if "index" in words:
                    words[words.index("index") + 1] = "chosen by chance"
        assert ran == printed


@pytest.mark.kernel
@pytest.mark.parametrize("steps", operations(), ids=lambda steps: str(steps[-1]))
def test_what_is_pasted_does_the_same(
    open_driver: Opener, make_netns: Callable[[], str], steps: list[Operation]
) -> None:
    """Line by line in a root shell; other nouns of the same host included."""
    typed, driven = make_netns(), make_netns()
    backend = open_driver(IprouteShellBackend, driven)
    seen = [open_driver(NetlinkBackend, netns) for netns in (typed, driven)]
    ground: list[Operation] = [Add(noun) for noun in GROUND]
    for some in (ground, *([operation] for operation in steps)):
        assert backend.apply(some).errors == {}
        lines = [line for operation in some for line in render(operation)]
        paste(typed, lines)
        assert state(seen[0]) == state(seen[1])


def netns_run(netns: str, command: str) -> str:
    argv = ["ip", "netns", "exec", netns, *command.split()]
    return subprocess.run(argv, text=True, capture_output=True, check=True).stdout


def paste(netns: str, lines: list[str]) -> None:
    argv = ["ip", "netns", "exec", netns, "bash"]
    done = subprocess.run(argv, input="\n".join(lines), text=True, capture_output=True, check=False)
    # A link with an MTU below 1280 has no IPv6, and no link-local address to be avoided.
    said = done.stderr.replace("RTNETLINK answers: Address family not supported by protocol", "")
    assert said.strip() == ""


@pytest.mark.kernel
def test_what_is_pasted_leaves_filters_of_others(netns: str) -> None:
    """A plan is printed without a look at what hangs on the same link."""
    show = "tc filter show dev lo egress"
    match = "protocol all u32 match u32 0 0 classid 1:1"
    redirect = Redirect(link="lo", to="lo")
    paste(netns, ["tc qdisc add dev lo clsact", f"tc filter add dev lo egress pref 7 {match}"])
    before = netns_run(netns, show)
    paste(netns, [*render(Add(redirect)), *render(Remove(redirect))])
    assert netns_run(netns, show) == before


@pytest.mark.kernel
def test_a_shell_takes_nothing_for_its_own(open_driver: Opener, netns: str) -> None:
    """Names and aliases go through it unharmed."""
    lines = render(Add(Bridge(name="b$(id)", alias="$HOME `id` ; 'x' \"y\" \\")))
    paste(netns, lines)
    found = open_driver(NetlinkBackend, netns).find(Link(name="b$(id)"))
    assert isinstance(found, Bridge)
    assert found.alias == "$HOME `id` ; 'x' \"y\" \\"
