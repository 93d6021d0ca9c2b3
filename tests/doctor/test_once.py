"""A backend that reads once: the answers of the real one, from one moment."""

from __future__ import annotations

import pytest

from snnet import FakeKernel, Unsupported
from snnet.contract import Add, Address, Bridge, Link, Route, Tap
from snnet.doctor.once import Once


def test_it_answers_as_the_backend_that_it_reads() -> None:
    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    kernel.apply([Add(Bridge(name="b0")), Add(Tap(name="t0", master="b0"))])
    once = Once.of(kernel)
    assert (once.name, once.carries, once.host) == (kernel.name, kernel.carries, kernel.host)
    for types in ({Tap}, {Link}, {Bridge, Address}, {Link, Route}, None):
        assert once.snapshot(types) == kernel.snapshot(types)
    assert once.find(Link(name="t0")) == kernel.find(Link(name="t0"))
    assert once.missing(Bridge(name="x")) is None


def test_it_reads_each_table_once() -> None:
    """Also where another node of the host asks; what is looked up is of now."""
    kernel = FakeKernel()
    kernel.apply([Add(Bridge(name="b0"))])
    once = Once.of(kernel)
    before = once.snapshot({Link})
    kernel.apply([Add(Bridge(name="b1"))])
    assert once.snapshot({Link}) == once.on(kernel.host).snapshot({Link}) == before
    assert once.find(Bridge(name="b1")) is not None
    assert Once.of(kernel).snapshot({Link}) != before


def test_it_only_looks() -> None:
    kernel = FakeKernel()
    once = Once.of(kernel)
    outcome = once.apply([Add(Bridge(name="b0"))])
    assert isinstance(outcome.errors[0], Unsupported)
    with pytest.raises(Unsupported):
        once.watch()
    once.close()
    assert kernel.find(Bridge(name="b0")) is None
