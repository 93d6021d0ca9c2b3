"""Hosts: what drivers work on, real and fake."""

from __future__ import annotations

import pytest

from snnet import FakeKernel, InvalidRequest
from snnet.contract import Host, Netns
from snnet.system.host import RealHost
from snnet.system.netns import is_current


def test_a_fake_kernel_is_a_host_of_its_own() -> None:
    one, two = FakeKernel("a"), FakeKernel("a")
    assert isinstance(one, Host)
    assert one.netns == one.netns != two.netns
    assert (str(one.netns), one.netns.fd) == ("fake kernel 'a'", -1)


def test_a_driver_of_real_namespaces_refuses_a_fake_one() -> None:
    with pytest.raises(InvalidRequest, match=r"mine needs .*, not fake kernel 'a'") as caught:
        FakeKernel("a").netns.descriptor_for("mine", "backend")
    assert caught.value.field == "backend"


def test_a_real_host_is_made_in_one_line() -> None:
    host, again = RealHost(), RealHost(owner="cn:cn-1")
    assert host.netns == again.netns
    assert host.netns.fd != again.netns.fd
    assert is_current(host.netns.descriptor_for("mine", "backend"))
    assert "network namespace" in str(host.netns)
    assert (host.owner, host.networks) == ("cn:test", ())
    again.close()
    again.close()
    assert again.netns == host.netns
    assert again.netns.fd == -1
    host.close()


def test_equality_is_of_namespaces_and_not_of_descriptors() -> None:
    assert Netns("4:1", "one", 3) == Netns("4:1", "uno", 5)
    assert Netns("4:1", "one", 3) != Netns("4:2", "one", 3)
