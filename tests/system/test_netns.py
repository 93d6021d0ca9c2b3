"""Network namespaces: opened by every kind of reference, entered by threads."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import InvalidRequest
from snnet.system.netns import in_netns, is_current, netns_id, open_netns


@pytest.fixture
def fd(netns: str) -> Iterator[int]:
    fd = open_netns(netns)
    yield fd
    os.close(fd)


def test_the_callers_own_namespace_needs_no_privilege() -> None:
    fd = open_netns(None)
    try:
        assert is_current(fd)
        assert netns_id(fd).split(":")[1] in os.readlink("/proc/thread-self/ns/net")
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("no-such-netns", "ip netns add no-such-netns"),
        ("/no/such/path", "No such file"),
        ("/etc/passwd", "is not a network namespace"),
        ("/proc/self/ns/mnt", "is not a network namespace"),
        ("", "is not a network namespace"),
        (".", "is not a network namespace"),
        ("..", "is not a network namespace"),
        ("a\0b", "embedded null"),  # the next word depends on the version of Python
        (-1, "negative integer"),
        (9999, "Bad file descriptor"),
        (True, "got bool"),
        (1.5, "got float"),
        (b"bytes", "got bytes"),
    ],
)
def test_what_is_no_namespace_is_an_invalid_request(ref: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        open_netns(ref)
    assert caught.value.field == "netns"


def test_a_refused_reference_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for ref in ("/etc/passwd", "no-such-netns"):
        with pytest.raises(InvalidRequest):
            open_netns(ref)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.kernel
def test_name_path_and_descriptor_mean_the_same(netns: str, fd: int) -> None:
    for ref in (f"/run/netns/{netns}", Path("/run/netns") / netns, fd):
        other = open_netns(ref)
        try:
            assert other != fd
            assert netns_id(other) == netns_id(fd)
        finally:
            os.close(other)


@pytest.mark.kernel
def test_a_function_runs_inside_and_the_caller_stays_outside(fd: int) -> None:
    def inside() -> tuple[bool, int]:
        return is_current(fd), threading.get_ident()

    is_inside, thread = in_netns(fd, inside)
    assert is_inside
    assert thread != threading.get_ident()
    assert not is_current(fd)


@pytest.mark.kernel
def test_what_it_raises_is_raised_here(fd: int) -> None:
    def fail() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        in_netns(fd, fail)


@pytest.mark.kernel
def test_processes_started_inside_are_inside(netns: str, fd: int) -> None:
    argv = ["readlink", "/proc/self/ns/net"]
    link = in_netns(fd, lambda: subprocess.check_output(argv, text=True))
    assert netns_id(fd).split(":")[1] in link


def test_entering_what_is_no_namespace_raises() -> None:
    fd = os.open("/etc/passwd", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="cannot enter"):
            in_netns(fd, lambda: None)
    finally:
        os.close(fd)
