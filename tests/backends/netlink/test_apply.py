"""What is netlink's own: the words of errors, messages that fail, removals in groups."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.backends.netlink.kernel import RTM_DELLINK, RTM_SETLINK, Kernel
from snnet.backends.netlink.links import MANY, Links
from snnet.backends.netlink.sysctls import Sysctls
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Busy,
    Change,
    Exhausted,
    Exists,
    Fdb,
    Link,
    Macvtap,
    Missing,
    Neighbour,
    Operation,
    Rejected,
    Remove,
    Route,
    SnnetError,
    Tap,
    Unsupported,
    Veth,
    Vxlan,
)
from snnet.system.netlink import NetlinkError
from tests.conftest import ip

from .conftest import KERNELS_OWN

pytestmark = pytest.mark.kernel

V4: dict[str, Any] = {"local": ip_address("192.0.2.1"), "remote": ip_address("192.0.2.2")}
VXLAN = Vxlan(name="vx", vni=7, port=16384, mtu=1400, alias="a tunnel", **V4)
BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450, alias="a bridge")


@pytest.mark.parametrize(
    "link",
    [
        BRIDGE,
        dataclasses.replace(VXLAN, master="br", alias="", up=False),
        Veth(name="v0", peer="v1", master="br", up=False),
    ],
    ids=lambda link: link.kind,
)
def test_a_link_whose_parameters_cannot_be_set_is_not_left(
    make_backend: Callable[[str], NetlinkBackend],
    netns: str,
    monkeypatch: pytest.MonkeyPatch,
    link: Link,
) -> None:
    backend = make_backend(netns)
    if link.master:
        assert backend.apply([Add(BRIDGE)]).error is None
    before = names(netns)

    def refuse(sysctls: Sysctls, name: str, value: str) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(Sysctls, "_set", refuse)
    assert isinstance(backend.apply([Add(link)]).error, Exhausted)
    assert names(netns) == before


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
        (Remove(Tap(name="br")), Missing, "a foreign bridge with group"),
        (Remove(Bridge(name="br")), Missing, "a foreign"),
        (Remove(dataclasses.replace(BRIDGE, group=0)), Missing, "a foreign"),
        (Remove(Bridge(name="none")), Missing, "ENODEV"),
        (Change(Bridge(name="br", mtu=70000), Bridge(name="br")), Missing, "a foreign"),
    ],
    ids=str,
)
def test_the_words_of_an_error(
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
def test_a_message_that_fails_leaves_no_link(
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


# Removing in groups


def test_consecutive_removals_wait_once(
    backend: NetlinkBackend,
    done: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    netns: str,
) -> None:
    """The kernel waits for its other processors once a request, however many links that removes."""
    taps = [Tap(name=f"t{n}", alias=str(n)) for n in range(50)]
    done(*map(Add, taps))
    removals: list[Any] = []
    real = Kernel.ask

    def ask(self: Kernel, kind: int, values: Any, flags: int = 0) -> list[bytes]:
        if kind == RTM_DELLINK:
            removals.append(values)
        return real(self, kind, values, flags)

    monkeypatch.setattr(Kernel, "ask", ask)
    done(*map(Remove, taps))
    assert names(netns) == set()
    assert len(removals) == 1


def test_removals_are_exact_when_the_group_cannot_be_deleted(
    backend: NetlinkBackend,
    done: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    netns: str,
) -> None:
    taps = [Tap(name=f"t{n}", alias="ours") for n in range(3)]
    done(*map(Add, taps))
    stays = backend.find(taps[1])
    assert isinstance(stays, Tap)
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


def test_no_more_ports_than_a_bridge_has(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    """1,023 of them: BR_MAX_PORTS, net/bridge/br_private.h."""
    ports = [Tap(name=f"t{n}", master="br") for n in range(1024)]
    done(Add(BRIDGE))
    outcome = backend.apply(list(map(Add, ports)))
    assert outcome.done == set(range(1023))
    assert isinstance(outcome.error, Exhausted)
    backend.apply(list(map(Remove, ports)), keep_going=True)


def test_many_links_are_removed_by_one_listing_and_foreign_ones_stay(
    backend: NetlinkBackend, done: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taps = [Tap(name=f"t{number}", group=7, alias=f"tap {number}") for number in range(3 * MANY)]
    done(*map(Add, taps))
    foreign, gone = taps[MANY], taps[5]
    done(Change(dataclasses.replace(foreign, alias="foreign"), foreign), Remove(gone))
    outcome = backend.apply([Remove(tap) for tap in taps], keep_going=True)
    assert {taps[number].name for number in outcome.errors} == {foreign.name, gone.name}
    assert all(isinstance(error, Missing) for error in outcome.errors.values())
    assert set(backend.snapshot({Tap})) == {foreign.key}
    assert getattr(backend.find(foreign), "group", None) == 7
    others = [tap for tap in taps if tap is not foreign]
    done(*map(Add, others))
    monkeypatch.setattr(Links, "look_up", lambda *_: pytest.fail("each is looked up"))
    done(*map(Remove, others))
