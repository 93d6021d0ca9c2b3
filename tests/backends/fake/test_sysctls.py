"""Kernel parameters."""

from __future__ import annotations

import pytest

from snnet.backends.fake import FakeKernel
from snnet.contract import Add, Change, Remove, Sysctl

from .steps import add, do, refusal, remove, tap

FORWARD = "net.ipv4.ip_forward"


def value(kernel: FakeKernel, name: str) -> str | None:
    found = kernel.find(Sysctl(name=name))
    assert found is None or isinstance(found, Sysctl)
    return found.value if found else None


def put(kernel: FakeKernel, name: str, new: str) -> None:
    old = value(kernel, name)
    assert old is not None
    do(kernel, Change(Sysctl(name=name, value=new), Sysctl(name=name, value=old)))


def test_forwarding_is_off_until_it_is_put_on_and_off_again() -> None:
    kernel = FakeKernel()
    before = kernel.to_text()
    assert value(kernel, FORWARD) == "0"
    put(kernel, FORWARD, "1")
    assert value(kernel, FORWARD) == "1"
    assert value(kernel, "net.ipv4.conf.all.forwarding") == "1"
    assert value(kernel, "net.ipv4.conf.lo.forwarding") == "1"
    assert "sysctl net.ipv4.ip_forward=1" in kernel.to_text()
    put(kernel, FORWARD, "0")
    assert kernel.to_text() == before


@pytest.mark.parametrize("bad", ["", "yes", "1.5", "99999999999999", "0x1"])
def test_whole_numbers_only(bad: str) -> None:
    kernel = FakeKernel()
    wanted, old = Sysctl(name=FORWARD, value=bad), Sysctl(name=FORWARD, value="0")
    assert refusal(kernel, Change(wanted, old)) == "EINVAL"


@pytest.mark.parametrize(
    "name", ["net.ipv4.ip_forwardx", "net.ipv4.conf.t0.proxy_arp", "net.ipv4.conf.lo.nonsense"]
)
def test_unknown_parameters(name: str) -> None:
    kernel = FakeKernel()
    assert value(kernel, name) is None
    wanted = Sysctl(name=name, value="1")
    assert refusal(kernel, Change(wanted, wanted)) == "ENOENT"


def test_parameters_of_a_link_live_as_long_as_the_link() -> None:
    kernel = FakeKernel()
    name = "net.ipv4.conf.t0.proxy_arp"
    add(kernel, tap("t0"))
    put(kernel, name, "1")
    remove(kernel, tap("t0"))
    add(kernel, tap("t0"))
    assert value(kernel, name) == "0"


def test_always_there_so_never_added_or_removed() -> None:
    kernel = FakeKernel()
    noun = Sysctl(name=FORWARD, value="1")
    assert refusal(kernel, Add(noun)) == "EOPNOTSUPP"
    assert refusal(kernel, Remove(noun)) == "EOPNOTSUPP"
