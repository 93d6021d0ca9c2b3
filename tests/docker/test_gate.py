"""Clients that send nothing, or little: they keep out nobody, and cost few descriptors."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import snnet
from snnet.docker import Tls
from snnet.docker.gate import connections_max
from snnet.registries.memory import MemoryRegistry

from .client import Client, Connection
from .conftest import Make, free_port

LIMIT = 8
Ask = Callable[[], int]
Connect = Callable[[], socket.socket]


@pytest.fixture
def silent() -> Iterator[Callable[[Connect, int], None]]:
    """Opens connections that send nothing, and keeps them."""
    opened: list[socket.socket] = []

    def open_all(connect: Connect, number: int) -> None:
        opened.extend(connect() for _ in range(number))

    yield open_all
    for one in opened:
        one.close()


@pytest.fixture(params=["unix", "tcp"])
def served(
    request: pytest.FixtureRequest, make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Ask, Connect]:
    """A plugin with room for few connections: how to ask it, and how to only connect."""
    monkeypatch.setattr("snnet.docker.gate.CONNECTIONS_MAX", LIMIT)
    if request.param == "unix":
        return _by_unix(make, folder)
    return _by_tcp(make, folder, request.getfixturevalue("tls"))


def _by_unix(make: Make, folder: Path) -> tuple[Ask, Connect]:
    plugin = make(registry=MemoryRegistry())
    plugin.init()
    plugin.start()

    def connect() -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(folder / "snnet.sock"))
        return one

    def ask() -> int:
        connection = Connection(folder / "snnet.sock", timeout=20)
        connection.request("POST", "/Plugin.Activate")
        with contextlib.closing(connection):
            return connection.getresponse().status

    return ask, connect


def _by_tcp(make: Make, folder: Path, tls: Tls) -> tuple[Ask, Connect]:
    port = free_port()
    plugin = make(
        address=f"127.0.0.1:{port}",
        tls=tls,
        spec_folder=folder / "specs",
        registry=MemoryRegistry(),
    )
    plugin.init()
    plugin.start()
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.client_cert, tls.client_key)

    def ask() -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        connection.request("POST", "/Plugin.Activate")
        with contextlib.closing(connection):
            return connection.getresponse().status

    return ask, lambda: socket.create_connection(("127.0.0.1", port), timeout=20)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_silent_connections_keep_nobody_out(
    served: tuple[Ask, Connect], silent: Callable[[Connect, int], None]
) -> None:
    ask, connect = served
    assert ask() == 200
    before, number = descriptors(), 10 * LIMIT
    silent(connect, number)
    assert ask() == 200
    # One of them is the request's.
    assert descriptors() - before - number <= LIMIT + 2


def test_a_request_that_does_not_arrive_is_dropped(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnet.docker.server.PATIENCE", 0.2)
    _, connect = _by_unix(make, folder)
    for begun in (b"", b"POST /Plugin.Act", b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\n"):
        with contextlib.closing(connect()) as one:
            one.settimeout(20)
            one.sendall(begun)
            assert one.recv(100) == b""
    with contextlib.closing(connect()) as one:
        one.settimeout(20)
        one.sendall(
            b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{"
        )  # the rest never comes
        assert one.recv(100) == b""


def test_a_trickle_is_no_request(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent byte by byte does not begin a new time limit with each byte."""
    monkeypatch.setattr("snnet.docker.server.PATIENCE", 0.3)
    _, connect = _by_unix(make, folder)

    def trickle() -> None:
        with contextlib.closing(connect()) as one:
            for byte in b"POST /Plugin.Activate HTTP/1.1\r\n" * 1000:
                one.sendall(bytes([byte]))
                time.sleep(0.02)

    with pytest.raises(ConnectionError):
        trickle()


def test_a_request_takes_as_long_as_it_takes(
    make: Make,
    folder: Path,
    node: snnet.ComputeNode,
    silent: Callable[[Connect, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snnet.docker.server.PATIENCE", 0.2)
    monkeypatch.setattr("snnet.docker.gate.CONNECTIONS_MAX", LIMIT)
    _, connect = _by_unix(make, folder)
    docker = Client(folder / "snnet.sock")
    go_on, there = threading.Event(), threading.Event()
    verify = node.topology

    def slow() -> object:
        there.set()
        assert go_on.wait(30)
        return verify()

    monkeypatch.setattr("snnet.docker.endpoints.Endpoints.remove_unjoined", lambda *_: slow())
    answers: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: answers.append(docker.ask("Plugin.Activate")))
    thread.start()
    assert there.wait(30)
    silent(connect, 5 * LIMIT)
    time.sleep(0.5)
    go_on.set()
    thread.join()
    assert answers == [{"Implements": ["NetworkDriver", "IpamDriver"]}]


def test_few_descriptors_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, limit in ((1024, 256), (256, 64), (3, 1), (-1, 256), (1 << 20, 256)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections_max() == limit
