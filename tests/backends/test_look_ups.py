"""A look-up that fails is an error: only what the host says is not there is not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from snnet.backends import namespaces
from snnet.backends.iproute_shell import IprouteShellBackend
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import ApiError, Link, Missing, Namespace, Sysctl
from snnet.system import named
from snnet.system.host import RealHost

NAME = "snnet-test-nowhere"


@pytest.fixture
def host() -> Iterator[RealHost]:
    opened = RealHost()
    yield opened
    opened.close()


@pytest.mark.parametrize("backend", [NetlinkBackend, IprouteShellBackend])
def test_an_answer_that_cannot_be_read_is_an_error(
    backend: Any, host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = backend(host)

    def garbled(noun: object) -> None:
        int("what the host answered")

    monkeypatch.setattr(driver._links, "find", garbled)
    try:
        with pytest.raises(ApiError, match=r"look up .* lo"):
            driver.find(Link(name="lo"))
    finally:
        driver.close()


@pytest.mark.parametrize("backend", [NetlinkBackend, IprouteShellBackend])
@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"], ids=["NUL", "surrogate"])
def test_what_nobody_can_be_asked_about_is_not_there(
    backend: Any, host: RealHost, name: str
) -> None:
    driver = backend(host)
    try:
        assert driver.find(Link(name=name)) is None
        assert driver.find(Sysctl(name=f"net.ipv4.conf.{name}.forwarding")) is None
        assert driver.find(Namespace(name=name)) is None
    finally:
        driver.close()


def test_a_namespace_that_goes_before_it_is_entered_is_missing(
    host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "exists", lambda name: True)
    inside = namespaces.opened(NetlinkBackend, host, NAME, None)
    with pytest.raises(Missing, match=f"there is no namespace {NAME}"), inside:
        pass


@pytest.mark.parametrize("name", [NAME, "", "..", "a/b", "a\0b", "a\ud800b", "a" * 256])
def test_a_name_without_a_namespace_is_missing(name: str) -> None:
    assert not named.exists(name)
    with pytest.raises(Missing, match="there is no namespace"):
        named.open_named(name)


def test_a_process_without_descriptors_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            named.exists(NAME)
