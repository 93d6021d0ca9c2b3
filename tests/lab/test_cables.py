"""Cables copy frames both ways, and survive whatever their ends do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from snnet.lab.taps import Cables


@pytest.fixture
def cables() -> Iterator[Cables]:
    cables = Cables()
    yield cables
    cables.close()


def end() -> tuple[socket.socket, int]:
    """A VM's or VNIC's side, and the descriptor to plug the cable into."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(5)
    return ours, theirs.detach()


def test_frames_go_both_ways_whole_and_in_order(cables: Cables) -> None:
    (left, left_fd), (right, right_fd) = end(), end()
    cables.join(left_fd, right_fd)
    with left, right:
        for frame in (b"one", b"two" * 500):
            left.send(frame)
        assert [right.recv(65536), right.recv(65536)] == [b"one", b"two" * 500]
        right.send(b"back")
        assert left.recv(65536) == b"back"


def test_a_frame_for_an_end_that_is_gone_is_lost(cables: Cables) -> None:
    (left, left_fd), (right, right_fd) = end(), end()
    (other, other_fd), (far, far_fd) = end(), end()
    cables.join(left_fd, right_fd)
    cables.join(other_fd, far_fd)
    with left, other, far:
        right.close()
        left.send(b"lost")
        other.send(b"heard")
        assert far.recv(65536) == b"heard"


def test_close_closes_every_end_and_may_be_repeated() -> None:
    cables = Cables()
    (left, left_fd), (right, right_fd) = end(), end()
    cables.join(left_fd, right_fd)
    with left, right:
        cables.close()
        cables.close()
        assert left.recv(65536) == right.recv(65536) == b""
    for fd in (left_fd, right_fd):
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
