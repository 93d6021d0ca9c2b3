"""The place of the backend suite on the fake: one fake kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from snnet.backends.fake import FakeKernel
from snnet.conformance import Place
from snnet.conformance.backend.place import ADDRESS, ADDRESS6, UPLINK
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Driver,
    Link,
    Remove,
    Sysctl,
    Veth,
)


class FakePlace(Place):
    """A fake kernel; ``wrap`` may put something between it and the tests."""

    link_locals = False
    survives_forks = False

    def __init__(
        self, kernel: FakeKernel | None = None, wrap: Callable[[FakeKernel], Driver] | None = None
    ) -> None:
        self.owner = "cn:kit"
        self.kernel = kernel or FakeKernel("kit")
        self.driver = wrap(self.kernel) if wrap else self.kernel
        self.kernel.add_uplink(UPLINK, ADDRESS, kind="veth")
        outcome = self.kernel.apply([Add(Address(link=UPLINK, address=ADDRESS6))])
        assert outcome.error is None, outcome.error

    @contextmanager
    def another(self) -> Iterator[Driver]:
        """The kernel is its own driver: there is no other one."""
        yield self.driver

    def make_bridge(self, name: str, *, alias: str = "", group: int = 0) -> None:
        self.kernel.links.plug(Bridge(name=name, alias=alias, group=group, up=False))

    def delete_link(self, name: str) -> None:
        outcome = self.kernel.apply([Remove(self._link(name))])
        assert outcome.error is None, outcome.error

    def mark_link(self, name: str, *, alias: str, group: int) -> None:
        old = self._link(name)
        outcome = self.kernel.apply([Change(replace(old, alias=alias, group=group), old)])
        assert outcome.error is None, outcome.error

    def move_veth(self, name: str) -> None:
        end = self._link(name)
        assert isinstance(end, Veth)
        near = self._link(end.peer or "")
        assert isinstance(near, Veth)
        self.kernel.links.take_peer(near)

    def names(self) -> set[str]:
        return {noun.name for noun in self.kernel.state.nouns.values() if isinstance(noun, Link)}

    def link_local_addresses(self, name: str) -> list[str]:
        return []

    def setting(self, name: str) -> str:
        found = self.kernel.find(Sysctl(name=name))
        assert isinstance(found, Sysctl), f"no parameter {name}"
        return found.value

    def close(self) -> None:
        """Nothing to take down."""

    def _link(self, name: str) -> Link:
        found = self.kernel.find(Link(name=name))
        assert isinstance(found, Link), f"no link {name}"
        return found
