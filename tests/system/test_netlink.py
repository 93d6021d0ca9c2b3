"""The netlink socket: requests, dumps, errors, and what it leaves behind."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from snnet.system import netlink
from snnet.system.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Netlink, NetlinkError
from snnet.system.netns import open_netns
from tests.conftest import ip

RTM_GETLINK, RTM_SETLINK = 18, 19


def message(kind: int, flags: int, attributes: bytes = b"", index: int = 0) -> bytearray:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attributes
    return bytearray(struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body)


def get(index: int = 1) -> bytearray:
    return message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, index=index)


def dump() -> bytearray:
    return message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP)


@pytest.fixture
def client() -> Iterator[Netlink]:
    """The socket in the caller's namespace: it only reads there."""
    fd = open_netns(None)
    client = Netlink(fd)
    yield client
    client.close()
    os.close(fd)


def test_request_and_dump(client: Netlink) -> None:
    (answer,) = client.request(get())
    assert struct.unpack_from("=i", answer, 20) == (1,)
    assert len(client.dump(dump())) == len(socket.if_nameindex())
    assert client.request(get()) != []


def test_a_look_up_is_answered_by_one_message(client: Netlink) -> None:
    def asked(index: int) -> bytearray:
        return message(RTM_GETLINK, NLM_F_REQUEST, index=index)

    for _ in range(3):
        assert struct.unpack_from("=i", client.look_up(asked(1)), 20) == (1,)
        with pytest.raises(NetlinkError) as refused:
            client.look_up(asked(1 << 30))
        assert refused.value.errno == errno.ENODEV
    assert len(client.dump(dump())) == len(socket.if_nameindex())


def test_names_and_indexes(client: Netlink) -> None:
    assert client.index("lo") == 1
    assert client.name(1) == "lo"
    for call in (
        lambda: client.index("no-such-link"),
        lambda: client.index(""),
        lambda: client.index("a" * 16),
        lambda: client.index("lo\0x"),
        lambda: client.name(1 << 30),
    ):
        with pytest.raises(NetlinkError) as caught:
            call()
        assert caught.value.errno == errno.ENODEV


def test_an_error_leaves_the_socket_usable(client: Netlink) -> None:
    for _ in range(3):
        with pytest.raises(NetlinkError) as caught:
            client.request(get(index=1 << 30))
        assert caught.value.errno == errno.ENODEV
        assert client.request(get())


@pytest.mark.kernel
def test_the_kernels_own_words(netns: str) -> None:
    fd = open_netns(netns)
    client = Netlink(fd)
    mtu = struct.pack("=HHI", 8, 4, 1 << 31)
    with pytest.raises(NetlinkError) as caught:
        client.request(message(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, mtu, index=1))
    assert caught.value.errno == errno.EINVAL
    assert "mtu" in caught.value.detail
    client.close()
    os.close(fd)


def test_threads_get_their_own_answers(client: Netlink) -> None:
    indexes = [index for index, _ in socket.if_nameindex()]
    wrong: list[int] = []

    def ask(index: int) -> None:
        for _ in range(200):
            (answer,) = client.request(get(index))
            if struct.unpack_from("=i", answer, 20) != (index,):
                wrong.append(index)

    threads = [threading.Thread(target=ask, args=(indexes[n % len(indexes)],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_close_leaves_no_descriptor_even_for_dead_threads() -> None:
    before = len(os.listdir("/proc/self/fd"))
    fd = open_netns(None)
    client = Netlink(fd)
    for _ in range(4):
        threads = [threading.Thread(target=lambda: client.request(get())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    client.close()
    client.close()
    os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_forked_child_has_sockets_of_its_own(client: Netlink) -> None:
    client.request(get())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            client.request(get())
            code = 0
        finally:
            os._exit(code)
    assert client.request(get())
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert client.request(get())


def test_an_interrupted_dump_is_repeated(client: Netlink, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = netlink._Socket.exchange

    def interrupted_twice(self: netlink._Socket, *args: Any) -> list[bytes]:
        calls.append(1)
        if len(calls) < 3:
            raise netlink._Interrupted
        return real(self, *args)

    monkeypatch.setattr(netlink._Socket, "exchange", interrupted_twice)
    assert client.dump(dump())
    assert len(calls) == 3


def test_a_dump_that_never_holds_still_is_given_up(
    client: Netlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(self: netlink._Socket, *args: Any) -> list[bytes]:
        raise netlink._Interrupted

    monkeypatch.setattr(netlink._Socket, "exchange", always)
    monkeypatch.setattr(netlink, "_DUMP_PATIENCE", 0.05)
    with pytest.raises(NetlinkError, match="changed during every attempt") as caught:
        client.dump(dump())
    assert caught.value.errno == errno.EBUSY


@pytest.mark.kernel
def test_the_interrupted_flag_is_seen(netns: str) -> None:
    """Links come and go while they are listed: no listing misses one that stays."""
    fd = open_netns(netns)
    client = Netlink(fd)
    for n in range(120):
        ip("link", "add", f"stay{n}", "type", "bridge", netns=netns)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            ip("link", "add", "churn", "type", "veth", "peer", "name", "churn2", netns=netns)
            ip("link", "del", "churn", netns=netns)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(50):
            names = b"".join(client.dump(dump()))
            assert all(b"stay%d\0" % n in names for n in range(120))
    finally:
        stop.set()
        thread.join()
        client.close()
        os.close(fd)


def test_a_silent_kernel_is_an_error(client: Netlink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "_PATIENCE", 0.1)
    unanswered = message(RTM_GETLINK, 0, index=1)  # no NLM_F_REQUEST: the kernel ignores it
    with pytest.raises(TimeoutError, match="no answer from the kernel"):
        client.request(unanswered)
    assert client.request(get())


def test_a_message_that_may_not_be_sent_leaves_the_socket_usable(
    client: Netlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a process without CAP_NET_ADMIN, whose send buffer has an upper limit."""
    monkeypatch.setattr(netlink, "_SO_SNDBUFFORCE", -1)
    with pytest.raises(NetlinkError, match="cannot send 1000000 bytes at once") as refused:
        client.request(get() + bytearray(1_000_000 - len(get())))
    assert refused.value.errno == errno.ENOPROTOOPT
    assert client.request(get())
