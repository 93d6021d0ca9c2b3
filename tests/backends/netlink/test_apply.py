"""Applying operations: all or nothing, errors by class, removals in groups."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.backends.netlink.kernel import RTM_DELLINK, RTM_SETLINK, Kernel
from snnet.contract import (
    LINK_GROUP,
    Add,
    Address,
    Bridge,
    Busy,
    Change,
    DhcpScope,
    Exhausted,
    Exists,
    Fdb,
    Geneve,
    Gretap,
    Link,
    Macvtap,
    Missing,
    Neighbour,
    Noun,
    Operation,
    Rejected,
    Remove,
    Route,
    SnnetError,
    Tap,
    Timeout,
    Unsupported,
    Veth,
    Vxlan,
)
from snnet.contract.links import DYING_GROUPS
from snnet.system.netlink import NetlinkError
from tests.conftest import ip, kernel_has

from .conftest import KERNELS_OWN

pytestmark = pytest.mark.kernel

V4: dict[str, Any] = {"local": ip_address("192.0.2.1"), "remote": ip_address("192.0.2.2")}
VXLAN = Vxlan(name="vx", vni=7, port=16384, mtu=1400, alias="a tunnel", **V4)
BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450, alias="a bridge")


def names(netns: str) -> set[str]:
    """What links there are besides the kernel's own, as ``ip`` sees it."""
    lines = ip("-o", "link", "show", netns=netns).splitlines()
    return {line.split(": ")[1].split("@")[0] for line in lines} - KERNELS_OWN


@pytest.mark.parametrize(
    ("operation", "cls", "words"),
    [
        (Add(Tap(name="t", master="none")), Missing, "no link none"),
        (Add(Macvtap(name="m", lower="none")), Missing, "no link none"),
        (Add(Macvtap(name="m", lower="br", mode="odd")), Unsupported, "odd"),
        (Add(Address(link="none", address=ip_interface("10.0.0.1/24"))), Missing, "none"),
        (Add(Route(destination=ip_network("10.0.0.0/8"), link="none")), Missing, "none"),
        (
            Add(Neighbour(link="none", address=ip_address("10.0.0.1"), lladdr="02:" * 5 + "02")),
            Missing,
            "none",
        ),
        (
            Add(Fdb(link="br", mac="02:" * 5 + "02", remote=V4["remote"])),
            Unsupported,
            "br is a bridge",
        ),
        (Add(Bridge(name="x" * 16)), Rejected, "ERANGE"),
        (Add(Tap(name="x" * 16)), Rejected, "ERANGE"),
        (Add(Tap(name="tap%d")), Rejected, "EINVAL"),
        (Add(Bridge(name="br%d")), Rejected, "EINVAL"),
        (Add(Bridge(name="")), Rejected, "EINVAL"),
        (Add(Tap(name="")), Rejected, "EINVAL"),
        (Add(Bridge(name="a/b")), Rejected, "EINVAL"),
        (Add(Tap(name="a\0b")), Rejected, "EINVAL"),
        (Add(Tap(name="t", mac="no mac")), Rejected, "no mac"),
        (Add(Tap(name="t", mac="01:00:00:00:00:01")), Missing, "EADDRNOTAVAIL"),
        (Add(Tap(name="t", mtu=1 << 40)), Rejected, "IFLA_MTU"),
        (Add(Bridge(name="b", alias="x" * 256)), Rejected, "ERANGE"),
        (Add(Tap(name="t", alias="x" * 256)), Rejected, "ERANGE"),
        (Add(dataclasses.replace(VXLAN, mtu=70000)), Rejected, "(?i)mtu"),
        (Add(dataclasses.replace(VXLAN, vni=1 << 24)), Rejected, "ERANGE"),
        (Add(dataclasses.replace(VXLAN, local=ip_address("::1"))), Unsupported, "families"),
        (Add(Tap(name="br")), Exists, "EEXIST"),
        (Add(Bridge(name="lo")), Exists, "EEXIST"),
        (Remove(Tap(name="br")), Missing, "a bridge of group"),
        (Remove(Bridge(name="br")), Missing, "somebody else's"),
        (Remove(dataclasses.replace(BRIDGE, group=0)), Missing, "somebody else's"),
        (Remove(Bridge(name="none")), Missing, "ENODEV"),
        (Change(Bridge(name="br", mtu=70000), Bridge(name="br")), Missing, "somebody else's"),
    ],
    ids=str,
)
def test_the_class_of_an_error(
    backend: NetlinkBackend,
    done: Callable[..., Any],
    netns: str,
    operation: Operation,
    cls: type[SnnetError],
    words: str,
) -> None:
    done(Add(BRIDGE))
    before = names(netns)
    outcome = backend.apply([operation])
    error = outcome.errors.pop(0)
    assert type(error) is cls, error
    assert re.search(words, str(error))
    assert outcome.done == set()
    assert names(netns) == before


def test_the_kernels_words_reach_the_message(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    bridge = Bridge(name="br")
    done(Add(bridge))
    error = backend.apply([Change(dataclasses.replace(bridge, mtu=1), bridge)]).error
    assert isinstance(error, Rejected)
    assert "mtu less than device minimum" in str(error)
    assert "change bridge br" in str(error)
    assert error.errno == errno.EINVAL
    assert isinstance(error.operation, Change)


def test_one_vxlan_a_vni_and_port(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    done(Add(VXLAN))
    error = backend.apply([Add(dataclasses.replace(VXLAN, name="vx2"))]).error
    assert isinstance(error, Exists)


@pytest.mark.needs("geneve")
def test_one_geneve_a_vni_and_remote(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    geneve = Geneve(name="gn", remote=V4["remote"], vni=7)
    done(Add(geneve))
    error = backend.apply([Add(dataclasses.replace(geneve, name="gn2"))]).error
    assert isinstance(error, (Busy, Exists))


@pytest.mark.needs("gretap")
def test_one_gretap_a_key_and_remote(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    gretap = Gretap(name="gt", tunnel_key=7, **V4)
    done(Add(gretap))
    error = backend.apply([Add(dataclasses.replace(gretap, name="gt2"))]).error
    assert isinstance(error, Exists)


def test_kinds_that_are_missing_are_declared(backend: NetlinkBackend, netns: str) -> None:
    gretap = Gretap(name="gt", tunnel_key=7, **V4)
    reason = backend.missing(gretap)
    if kernel_has("gretap"):
        assert reason is None
    else:
        assert reason == "this kernel has no gretap: load ip_gre or set tunnel 'vxlan'"
        assert isinstance(backend.apply([Add(gretap)]).error, Unsupported)
    scope = DhcpScope(link="br", subnet=ip_network("10.0.0.0/24"), mtu=1500)
    assert "does not carry DhcpScope" in (backend.missing(scope) or "")
    assert names(netns) == set()


def test_a_noun_of_another_driver(backend: NetlinkBackend) -> None:
    scope = DhcpScope(link="br", subnet=ip_network("10.0.0.0/24"), mtu=1500)
    assert isinstance(backend.apply([Add(scope)]).error, Unsupported)
    assert backend.find(scope) is None


# All or nothing

ALL_OR_NOTHING: list[Link] = [
    BRIDGE,
    VXLAN,
    Tap(name="t", alias="a tap", mtu=1400),
    Tap(name="t", alias="a tap", queues=4, multi_queue=True),
    Veth(name="v", peer="p", alias="a veth"),
    Macvtap(name="m", lower="up", alias="a macvtap"),
]


@pytest.mark.parametrize("noun", ALL_OR_NOTHING, ids=str)
@pytest.mark.parametrize("step", [1, 2])
def test_no_half_link_stays(
    backend: NetlinkBackend,
    done: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    netns: str,
    noun: Link,
    step: int,
) -> None:
    """Each message after the one that makes the link fails in turn."""
    done(Add(Veth(name="up", peer="up2")))
    before, open_before = names(netns), len(os.listdir("/proc/self/fd"))
    real, seen = Kernel.message, []

    def fail(self: Kernel, kind: int, values: Any, flags: int = 0) -> bytearray:
        message = real(self, kind, values, flags)
        if kind == RTM_SETLINK:
            seen.append(kind)
            if len(seen) == step:
                message[28:32] = (1 << 30).to_bytes(4, "little")  # flags beyond reason
                message[20:24] = (1 << 30).to_bytes(4, "little")  # of a link there is not
        return message

    monkeypatch.setattr(Kernel, "message", fail)
    outcome = backend.apply([Add(noun)])
    if len(seen) < step:
        assert outcome.done == {0}
        outcome.close_fds()
        return
    assert isinstance(outcome.error, Missing)
    assert outcome.done == set()
    assert outcome.fds == {}
    assert names(netns) == before
    assert len(os.listdir("/proc/self/fd")) - open_before <= 8  # the stock of tun files


def test_half_a_change_is_put_back(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    old = Tap(name="t", mac="fe:00:00:00:00:01", mtu=1400, alias="old")
    done(Add(old))
    new = dataclasses.replace(old, mac="fe:00:00:00:00:02", mtu=100000, alias="new")
    assert isinstance(backend.apply([Change(new, old)]).error, Rejected)
    found = backend.find(old)
    assert found is not None
    assert not old.differences(found)


def test_the_first_error_ends_the_work(backend: NetlinkBackend, netns: str) -> None:
    nouns: list[Noun] = [BRIDGE, Tap(name="t", master="none"), VXLAN]
    outcome = backend.apply([Add(noun) for noun in nouns])
    assert outcome.done == {0}
    assert set(outcome.errors) == {1}
    assert names(netns) == {"br"}


def test_keep_going(backend: NetlinkBackend, netns: str) -> None:
    nouns: list[Noun] = [BRIDGE, Tap(name="t", master="none"), VXLAN]
    outcome = backend.apply([Add(noun) for noun in nouns], keep_going=True)
    assert outcome.done == {0, 2}
    outcome = backend.apply([Remove(noun) for noun in nouns], keep_going=True)
    assert outcome.done == {0, 2}
    assert isinstance(outcome.errors[1], Missing)
    assert names(netns) == set()


@pytest.mark.parametrize("stop_at", range(4))
def test_check_stops_before_an_operation(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str, stop_at: int
) -> None:
    taps = [Tap(name=f"t{n}") for n in range(3)]
    calls: list[int] = []

    def check() -> None:
        if len(calls) == stop_at:
            raise Timeout("too late")
        calls.append(1)

    outcome = backend.apply([Add(tap) for tap in taps], check=check)
    assert outcome.done == set(range(min(stop_at, 3)))
    assert isinstance(outcome.error, Timeout) == (stop_at < 3)
    calls.clear()
    outcome = backend.apply([Remove(tap) for tap in taps[:stop_at]], check=check)
    assert outcome.error is None
    assert names(netns) == set()


# Removing in groups


def test_consecutive_removals_wait_once(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str
) -> None:
    taps = [Tap(name=f"t{n}", alias=str(n)) for n in range(50)]

    def seconds() -> float:
        done(*map(Add, taps))
        start = time.monotonic()
        done(*map(Remove, taps))
        assert names(netns) == set()
        return time.monotonic() - start

    # A busy machine may be slow now and then; 50 waits are slow every time.
    assert any(seconds() < 50 * 0.010 for _ in range(10))


def test_a_whole_subnet_goes_at_once(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str
) -> None:
    port = {"master": "br"}
    veth = Veth(name="v", peer="p", **port)
    nouns = [BRIDGE, dataclasses.replace(VXLAN, **port), Tap(name="t", **port), veth]
    done(*map(Add, nouns))
    done(*map(Remove, reversed(nouns)))
    assert names(netns) == set()


def test_strangers_are_never_hit(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str
) -> None:
    """Links without a group, of our group, with a copied alias, with our name."""
    taps = [Tap(name=f"t{n}", alias="ours") for n in range(6)]
    done(*map(Add, taps))
    ip("link", "add", "foreign", "type", "ifb", netns=netns)
    ip("link", "add", "copied", "type", "bridge", netns=netns)
    ip("link", "set", "copied", "group", str(LINK_GROUP), "alias", "ours", netns=netns)
    for n, words in enumerate((["alias", "theirs"], ["group", "5"], ["alias", ""])):
        ip("link", "set", f"t{n}", *words, netns=netns)
    ip("link", "del", "t3", netns=netns)
    ip("link", "add", "t3", "type", "ifb", netns=netns)
    outcome = backend.apply(list(map(Remove, taps)), keep_going=True)
    assert outcome.done == {4, 5}
    assert all(isinstance(error, Missing) for error in outcome.errors.values())
    assert names(netns) == {"foreign", "copied", "t0", "t1", "t2", "t3"}


def test_removals_are_exact_when_the_group_cannot_be_deleted(
    backend: NetlinkBackend,
    done: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    netns: str,
) -> None:
    taps = [Tap(name=f"t{n}", alias="ours") for n in range(3)]
    done(*map(Add, taps))
    stays = backend.find(taps[1])
    assert stays is not None
    real = Kernel.ask

    def ask(self: Kernel, kind: int, values: Any, flags: int = 0) -> list[bytes]:
        by_path = {field.path: value for field, value in values.items()}
        if kind == RTM_DELLINK and by_path.get("index") in (None, stays.index):
            raise NetlinkError(errno.EBUSY)
        return real(self, kind, values, flags)

    monkeypatch.setattr(Kernel, "ask", ask)
    outcome = backend.apply(list(map(Remove, taps)), keep_going=True)
    assert outcome.done == {0, 2}
    assert isinstance(outcome.errors[1], Busy)
    assert backend.find(taps[1]) == stays  # in its own group again
    outcome = backend.apply([Remove(taps[1]), Remove(taps[0])])
    assert outcome.done == set()
    assert set(outcome.errors) == {0}


def test_a_link_left_between_marking_and_deleting_is_still_ours(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str
) -> None:
    tap = Tap(name="t", alias="ours")
    done(Add(tap))
    ip("link", "set", "dev", "t", "group", str(DYING_GROUPS[5]), netns=netns)
    done(Remove(tap))
    assert names(netns) == set()


def test_both_ends_of_a_veth(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    """The second end went with the first."""
    done(Add(Veth(name="v", peer="p")), Add(Bridge(name="b")))
    peer = backend.find(Link(name="p"))
    assert peer is not None
    operations = [Remove(Bridge(name="b")), Remove(Veth(name="v")), Remove(peer)]
    outcome = backend.apply(operations)
    assert outcome.done == {0, 1}
    assert isinstance(outcome.errors[2], Missing)


def test_one_link_twice(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    done(Add(BRIDGE))
    outcome = backend.apply([Remove(BRIDGE), Remove(BRIDGE)])
    assert outcome.done == {0}
    assert isinstance(outcome.errors[1], Missing)


def test_remove_and_add_again(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    done(Add(BRIDGE), Remove(BRIDGE), Add(BRIDGE), Remove(BRIDGE))


def test_no_more_ports_than_a_bridge_has(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    """1,023 of them: BR_MAX_PORTS, net/bridge/br_private.h."""
    ports = [Tap(name=f"t{n}", master="br") for n in range(1024)]
    done(Add(BRIDGE))
    outcome = backend.apply(list(map(Add, ports)))
    assert outcome.done == set(range(1023))
    assert isinstance(outcome.error, Exhausted)
    backend.apply(list(map(Remove, ports)), keep_going=True)
