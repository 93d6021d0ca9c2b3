"""The messages of errors, gaps of its own, and programs that are missing or not understood."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.backends.iproute_shell.namespaces import Namespaces
from snnet.backends.iproute_shell.shell import Shell
from snnet.contract import (
    Add,
    ApiError,
    Bridge,
    Change,
    Exists,
    Fdb,
    Gre,
    Missing,
    Namespace,
    Operation,
    Rejected,
    Remove,
    Route,
    Tap,
    Unsupported,
    Vxlan,
)
from snnet.system.process import Completed

from .conftest import names
from .nouns import V4, V6

pytestmark = pytest.mark.kernel

Done = Callable[..., Any]

MAC = "02:00:00:00:00:0c"
BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450, alias="a bridge")
VXLAN = Vxlan(name="vx", vni=7, port=16384, mtu=1400, alias="a tunnel", **V4)
FDB = Fdb(link="vx", mac=MAC, remote=V4["remote"])


def route(destination: str, link: str, gateway: str | None = None) -> Route:
    via = ip_address(gateway) if gateway else None
    return Route(destination=ip_network(destination), link=link, gateway=via)


@pytest.mark.parametrize(
    ("operation", "cls", "words"),
    [
        (Add(Tap(name="t", master="none")), Missing, "there is no link none"),
        (Add(Bridge(name="b", alias="x" * 256)), Rejected, "ERANGE.*255 bytes"),
        (Add(Bridge(name="br")), Exists, "add bridge br up: File exists .EEXIST.: RTNETLINK"),
        (Remove(Bridge(name="br")), Missing, "a foreign"),
        (Change(replace(BRIDGE, mtu=1), BRIDGE), Rejected, "mtu less than device minimum"),
        (Add(Tap(name="t", queues=4, multi_queue=True)), Unsupported, "set backend 'netlink'"),
        (Add(Tap(name="br", queues=4, multi_queue=True)), Exists, "EEXIST"),
        (Add(Tap(name="t", queues=257, multi_queue=True)), Rejected, "1 to 256"),
    ],
    ids=str,
)
def test_the_message_says_why(
    backend: IprouteShellBackend,
    done: Done,
    operation: Operation,
    cls: type[Exception],
    words: str,
) -> None:
    done(Add(BRIDGE))
    error = backend.apply([operation]).error
    assert isinstance(error, ApiError)
    assert type(error) is cls
    assert re.search(words, str(error))


def test_gaps_of_its_own_are_declared(backend: IprouteShellBackend, netns: str) -> None:
    assert "multipoint" in (backend.missing(Gre(name="g", local=V6["local"], tunnel_key=1)) or "")
    assert "set backend 'netlink'" in (backend.missing(Tap(name="t", queues=2)) or "")
    assert backend.missing(Tap(name="t", multi_queue=True, proxy_arp=True)) is None
    assert names(netns) == set()


def test_watching_is_declared(backend: IprouteShellBackend) -> None:
    with pytest.raises(Unsupported, match="compare snapshots"):
        backend.watch()


def test_without_the_programs(
    backend: IprouteShellBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnet.backends.iproute_shell import support
    from snnet.system import process

    for module in (process, support):
        monkeypatch.setattr(module, "find_program", lambda name: None)
    for noun in (BRIDGE, FDB, route("10.0.0.0/8", "br")):
        assert "apt-get install iproute2" in (backend.missing(noun) or "")
    error = backend.apply([Add(BRIDGE)]).error
    assert isinstance(error, Unsupported)
    assert "apt-get install iproute2" in str(error)


def test_the_ip_of_busybox_is_not_accepted(
    backend: IprouteShellBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "run", lambda argv, **_: Completed(1, "", "BusyBox v1.35.0"))
    assert "is not from iproute2" in (backend.missing(BRIDGE) or "")


def test_unknown_messages_are_passed_on(
    backend: IprouteShellBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "run", lambda argv, **_: Completed(2, "", "Error: Oops.\n"))
    error = backend.apply([Add(Bridge(name="b"))]).error
    assert type(error) is ApiError
    assert str(error) == "cannot add bridge b up: Error: Oops."
    assert error.errno is None
    monkeypatch.setattr(shell, "run", lambda argv, **_: Completed(-9, "", ""))
    with pytest.raises(Exception, match="killed by signal 9"):
        backend.snapshot([Bridge])


def test_a_look_into_a_namespace_that_is_being_ended_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever ends a namespace kills what runs in it, and ``ip`` ran there."""
    answers = iter([Completed(-9, "", ""), Completed(0, '[{"ifalias": ""}]', "")])
    monkeypatch.setattr("snnet.backends.iproute_shell.shell.run", lambda *_, **__: next(answers))
    monkeypatch.setattr("snnet.system.named.exists", lambda _: True)
    netns = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        found = Namespaces(Shell(netns), netns).find(Namespace(name="somebodys"))
    finally:
        os.close(netns)
    assert found == Namespace(name="somebodys")
    assert next(answers, None) is None
