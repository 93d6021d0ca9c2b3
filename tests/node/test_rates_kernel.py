"""How much passes a limit on the kernel: one TCP connection in each direction."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from snnet.core.vnics import Vnic
from snnet.system.netns import in_netns, open_netns
from tests.conftest import ip
from tests.node.conftest import make_world
from tests.node.world import RealWorld, World, container

pytestmark = pytest.mark.kernel

RATE = 50_000_000
SECONDS = 1.5
WARM_UP = 0.3
"""Seconds of each measurement that do not count: TCP starts slowly, and a burst is let through."""
PORT = 5001


@pytest.fixture(params=["netlink-vxlan", "iproute_shell-vxlan"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = make_world(request, request.param)
    yield made
    made.close()


class Guests:
    """Two containers on one bridge, of which the first has limits."""

    def __init__(self, world: World, names: tuple[str, str], stack: ExitStack) -> None:
        assert isinstance(world, RealWorld)
        self.world, self.node = world, world.node()
        self.spaces = []
        for number, name, rates in ((9, names[0], _both(RATE)), (10, names[1], {})):
            vnic = self.node.create_vnic(container(number, **rates)).vnic
            self._plug(vnic, name)
            fd = open_netns(name)
            stack.callback(os.close, fd)
            self.spaces.append(fd)

    def _plug(self, vnic: Vnic, name: str) -> None:
        ip("link", "set", str(vnic.peer_name), "netns", name, netns=self.world.netns)
        ip("link", "set", str(vnic.peer_name), "name", "eth0", netns=name)
        ip("address", "add", f"{vnic.ip}/24", "dev", "eth0", netns=name)
        ip("link", "set", "eth0", "up", netns=name)

    def bits_per_second(self, *, to_first: bool) -> float:
        """What one TCP connection carries, in bits a second of payload."""
        sender, receiver = self.spaces[1 if to_first else 0], self.spaces[0 if to_first else 1]
        target = "10.1.0.9" if to_first else "10.1.0.10"
        server = in_netns(receiver, lambda: socket.create_server(("", PORT), backlog=1))
        sending = threading.Thread(target=in_netns, args=(sender, lambda: _send(target)))
        with server:
            server.settimeout(10)
            sending.start()
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                began = time.monotonic()
                _count(connection, began + WARM_UP)
                start = time.monotonic()
                received = _count(connection, start + SECONDS)
                lasted = time.monotonic() - start
        sending.join()
        return 8 * received / lasted


def _both(rate: int) -> dict[str, Any]:
    return {"rate_to_guest": rate, "rate_from_guest": rate}


def _send(target: str) -> None:
    with socket.create_connection((target, PORT), 10) as connection:
        try:
            while True:
                connection.sendall(bytes(1 << 16))
        except OSError:
            pass  # the receiver has enough


def _count(connection: socket.socket, until: float) -> int:
    received = 0
    while time.monotonic() < until:
        received += len(connection.recv(1 << 18))
    return received


def test_a_connection_gets_what_the_limit_allows(
    world: World, make_netns: Callable[[], str]
) -> None:
    """In each direction: nearly all of it, and no more; without a limit it gets much more."""
    with ExitStack() as stack:
        guests = Guests(world, (make_netns(), make_netns()), stack)
        for to_first in (True, False):
            found = guests.bits_per_second(to_first=to_first)
            assert 0.85 * RATE <= found <= 1.05 * RATE, f"{found / 1e6:.1f} Mbit/s"
        guests.node.update_vnic(container(9))
        assert guests.bits_per_second(to_first=False) > 3 * RATE
