"""The driver and the host: apply, failures on demand, descriptors, events, text."""

from __future__ import annotations

import contextlib
import os
import threading
from ipaddress import ip_network

import pytest

from snnet.backends.fake import FakeDhcp, FakeFirewall, FakeKernel, open_kernel
from snnet.contract import (
    Add,
    ApiError,
    Bridge,
    Exhausted,
    Exists,
    InvalidRequest,
    Link,
    LinkEvent,
    Masquerade,
    Rejected,
    Remove,
    Tap,
    Timeout,
    Unsupported,
)

from .steps import add, bridge, link, refusal, remove, tap

# -- apply -----------------------------------------------------------------------


def test_what_an_error_says() -> None:
    outcome = FakeKernel().apply([Add(bridge("b0")), Add(bridge("b0"))])
    assert isinstance(outcome.error, Exists)
    assert str(outcome.error) == "cannot add bridge b0: File exists (EEXIST)"


@pytest.mark.parametrize("keep_going", [False, True])
def test_check_is_called_before_each_operation_and_stops_the_work(keep_going: bool) -> None:
    kernel = FakeKernel()
    calls = []

    def check() -> None:
        calls.append(len(kernel.snapshot((Bridge,))))
        if len(calls) == 3:
            raise Timeout("too late")

    operations = [Add(bridge(f"b{number}")) for number in range(5)]
    outcome = kernel.apply(operations, check=check, keep_going=keep_going)
    assert calls == [0, 1, 2]
    assert outcome.done == {0, 1}
    assert isinstance(outcome.errors[2], Timeout)
    assert len(outcome.errors) == 1


def test_nouns_of_another_driver_are_refused() -> None:
    kernel = FakeKernel()
    rule = Masquerade(owner="cnci:c", device="eth0")
    assert kernel.missing(rule) == "the fake driver 'fake' does not carry Masquerade"
    assert isinstance(kernel.apply([Add(rule)]).error, Unsupported)


def test_snapshot_of_some_types() -> None:
    kernel = FakeKernel()
    add(kernel, bridge("b0"), tap("t0", "b0"))
    assert set(kernel.snapshot((Tap,))) == {("link", "t0")}
    assert set(kernel.snapshot((Link,))) == {("link", name) for name in ("lo", "b0", "t0")}
    assert set(kernel.snapshot()) == {
        ("link", "lo"), ("link", "b0"), ("link", "t0"), ("address", "lo", "127.0.0.1/8"),
        ("sysctl", "net.ipv4.ip_forward"), ("sysctl", "net.ipv6.conf.all.forwarding"),
    }  # fmt: skip


def test_many_threads_at_once() -> None:
    kernel = FakeKernel()
    add(kernel, bridge("b0"))
    errors: list[object] = []

    def work(number: int) -> None:
        for step in range(50):
            noun = tap(f"t{number}x{step}", "b0")
            errors.extend(kernel.apply([Add(noun)]).errors.values())
            if step % 2:
                errors.extend(kernel.apply([Remove(noun)]).errors.values())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(kernel.snapshot((Tap,))) == 8 * 25


# -- failures on demand --------------------------------------------------------------


def test_the_third_operation_from_now_fails_once() -> None:
    kernel = FakeKernel()
    kernel.fail(at=3, error="ENOMEM")
    outcome = kernel.apply([Add(bridge(f"b{number}")) for number in range(4)])
    assert outcome.done == {0, 1}
    assert isinstance(outcome.error, Exhausted)
    assert outcome.error.operation == Add(bridge("b2"))
    add(kernel, bridge("b2"), bridge("b3"))


def test_several_failures_and_all_drivers_count() -> None:
    kernel = FakeKernel()
    kernel.add_uplink("eth0", None)
    firewall = FakeFirewall(kernel)
    kernel.fail(at=2, error="EIO")
    kernel.fail(at=4, error="EPERM")
    rule = Masquerade(owner="cnci:c", device="eth0")
    add(kernel, bridge("b0"))
    assert refusal(firewall, Add(rule)) == "EIO"
    add(firewall, rule)
    assert refusal(kernel, Add(bridge("b1"))) == "EPERM"
    add(kernel, bridge("b1"))


@pytest.mark.parametrize(("at", "error"), [(0, "EIO"), (1, "ENONSENSE")])
def test_impossible_failures(at: int, error: str) -> None:
    with pytest.raises(InvalidRequest):
        FakeKernel().fail(at=at, error=error)


# -- multi-queue taps -------------------------------------------------------------------


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_queue_is_a_real_descriptor_of_the_caller() -> None:
    kernel = FakeKernel()
    before = open_descriptors()
    outcome = kernel.apply([Add(tap("t0", queues=4)), Add(tap("t1"))])
    assert list(outcome.fds) == ["t0"]
    assert len(set(outcome.fds["t0"])) == 4
    assert not any(os.get_inheritable(fd) for fd in outcome.fds["t0"])
    assert open_descriptors() == before + 4
    found = link(kernel, "t0")
    assert isinstance(found, Tap)
    assert found.multi_queue
    remove(kernel, found)
    assert open_descriptors() == before + 4
    outcome.close_fds()
    assert open_descriptors() == before


def test_a_tap_that_fails_leaves_no_descriptor() -> None:
    kernel = FakeKernel()
    before = open_descriptors()
    add(kernel, tap("t1"))
    assert isinstance(kernel.apply([Add(tap("t1", queues=4))]).error, Exists)
    kernel.fail(at=1)
    assert isinstance(kernel.apply([Add(tap("t0", queues=4))]).error, Exhausted)
    for queues in (0, 257):
        assert isinstance(kernel.apply([Add(tap("t0", queues=queues))]).error, Rejected)
    assert open_descriptors() == before


# -- events ----------------------------------------------------------------------------


def test_watch_sees_links_come_change_and_go() -> None:
    kernel = FakeKernel()
    add(kernel, tap("before"))
    with kernel.watch() as watch:
        assert watch.read(0) == []
        add(kernel, bridge("b0"), tap("t0", "b0", mtu=1400))
        bridge_index, tap_index = link(kernel, "b0").index, link(kernel, "t0").index
        remove(kernel, tap("t0"))
        events = watch.read(0)
    assert events == [
        LinkEvent("b0", bridge_index, False),
        LinkEvent("t0", tap_index, False),
        LinkEvent("b0", bridge_index, False),  # its MTU and MAC follow the tap's
        LinkEvent("b0", bridge_index, False),
        LinkEvent("t0", tap_index, True),
    ]
    remove(kernel, bridge("b0"))
    assert watch.read(0) == []


def test_watch_waits_for_another_thread() -> None:
    kernel = FakeKernel()
    with kernel.watch() as watch:
        timer = threading.Timer(0.02, lambda: kernel.apply([Add(tap("t0"))]))
        timer.start()
        assert [event.name for event in watch.read(5)] == ["t0"]
        timer.join()


def test_events_left_unread_are_lost_and_said_so() -> None:
    kernel = FakeKernel()
    with kernel.watch() as watch:
        noun = tap("t0")
        for _ in range(5001):
            kernel.apply([Add(noun), Remove(noun)])
        with pytest.raises(Exhausted):
            watch.read(0)
        add(kernel, noun)
        assert [event.name for event in watch.read(0)] == ["t0"]


# -- the host ----------------------------------------------------------------------------


def test_records_are_written_when_the_block_ends_well() -> None:
    kernel = FakeKernel()
    with kernel.record("forwarding") as record:
        record["users"] = ["cn:a"]
    with contextlib.suppress(ZeroDivisionError), kernel.record("forwarding") as record:
        record["users"].append("cn:b")
        raise ZeroDivisionError
    with kernel.record("forwarding") as record:
        assert record == {"users": ["cn:a"]}
    with kernel.claim(0):
        pass


def test_open_kernel_puts_the_first_host_address_on_eth0() -> None:
    host = FakeKernel()
    host.owner = "cn:cn-1"
    assert open_kernel(host).find(Link(name="eth0")) is None
    host.networks = (ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24"))
    kernel = open_kernel(host)
    assert kernel.owner == "cn:cn-1"
    assert "address 192.0.2.1/24 dev eth0" in kernel.to_text()
    host.networks = (ip_network("2001:db8::/64"),)
    assert "address 2001:db8::1/64 dev eth0" in open_kernel(host).to_text()


def test_firewall_and_dhcp_need_a_fake_kernel() -> None:
    for driver in (FakeFirewall, FakeDhcp):
        with pytest.raises(InvalidRequest, match="only with the backend 'fake'"):
            driver(None)  # type: ignore[arg-type]


def test_uplinks_that_cannot_be() -> None:
    kernel = FakeKernel()
    with pytest.raises(InvalidRequest):
        kernel.add_uplink("eth0", "192.0.2.300/24")
    kernel.add_uplink("eth0", "192.0.2.1/24")
    with pytest.raises(ApiError):
        kernel.add_uplink("eth0", "192.0.2.2/24")


# -- text ---------------------------------------------------------------------------------


def test_text_is_stable_and_sorted() -> None:
    def build(order: list[str]) -> str:
        kernel = FakeKernel()
        for name in order:
            add(kernel, tap(name, mac="02:00:00:00:00:01", alias=f"alias of {name}"))
        return kernel.to_text()

    assert build(["t2", "t0", "t1"]) == build(["t0", "t1", "t2"])
    assert build(["t0"]).splitlines()[-1] == (
        'tap t0 mac 02:00:00:00:00:01 mtu 1500 up alias "alias of t0"'
    )
