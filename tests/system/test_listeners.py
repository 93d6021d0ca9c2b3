"""The sockets that listen on a host, and the names of their programs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnet.system.listeners import listeners
from snnet.system.netns import open_netns


@pytest.fixture
def netns() -> Iterator[int]:
    fd = open_netns()
    yield fd
    os.close(fd)


def test_a_name_that_is_cut_within_a_character(netns: int) -> None:
    """The kernel keeps the first 15 bytes of a program's name, whatever they are."""
    name = Path("/proc/self/comm")
    before = name.read_bytes()
    name.write_bytes(b"\xd1\x81" * 8)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            (found,) = [one for one in listeners(netns) if one.port == port]
    finally:
        name.write_bytes(before)
    assert f"(pid {os.getpid()}) on 127.0.0.1:{port}" in found.what
