"""The host of the backend and the DHCP suites on the fake: one fake kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import snnet
from snnet.backends.fake import FakeDhcp, FakeKernel, Guest
from snnet.conformance import Lan, Lease, Place
from snnet.conformance.backend.place import ADDRESS, ADDRESS6, UPLINK
from snnet.contract import (
    Address,
    Bridge,
    Change,
    DhcpScope,
    Driver,
    Link,
    Sysctl,
    Tap,
    Veth,
)
from tests.backends.fake.steps import add, do, link, remove
from tests.backends.fake.topology import Vnic


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
        add(self.kernel, Address(link=UPLINK, address=ADDRESS6))

    @contextmanager
    def another(self) -> Iterator[Driver]:
        """The kernel is its own driver: there is no other one."""
        yield self.driver

    def make_bridge(self, name: str, *, alias: str = "", group: int = 0) -> None:
        self.kernel.links.plug(Bridge(name=name, alias=alias, group=group, up=False))

    def make_other(self, name: str, kind: str) -> None:
        self.kernel.add_uplink(name, None, kind=kind, up=False)

    def delete_link(self, name: str) -> None:
        remove(self.kernel, link(self.kernel, name))

    def mark_link(self, name: str, *, alias: str, group: int) -> None:
        old = link(self.kernel, name)
        do(self.kernel, Change(replace(old, alias=alias, group=group), old))

    def move_veth(self, name: str) -> None:
        end = link(self.kernel, name)
        assert isinstance(end, Veth)
        near = link(self.kernel, end.peer or "")
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


class FakeLan(Lan):
    """A host of a fabric, its bridges and guests."""

    def __init__(self, owner: str = "cnci:kit") -> None:
        self.owner = owner
        self.fabric = snnet.Fabric()
        self.kernel = self.fabric.add_host("host", None)
        self.driver: Driver = FakeDhcp(self.kernel)
        self._guests: dict[tuple[str, str], Guest] = {}

    @contextmanager
    def another(self) -> Iterator[Driver]:
        yield FakeDhcp(self.kernel)

    def add_bridge(self, name: str, *gateways: IPv4Interface) -> None:
        addresses = (Address(link=name, address=gateway) for gateway in gateways)
        add(self.kernel, Bridge(name=name), *addresses)

    def remove_bridge(self, name: str) -> None:
        remove(self.kernel, Bridge(name=name))
        self._guests = {key: guest for key, guest in self._guests.items() if key[0] != name}

    def lease(self, bridge: str, mac: str, tries: int = 1) -> Lease | None:
        """There is no time: who is not answered once never is."""
        guest = self._guests.get((bridge, mac))
        if guest is None:
            port = f"p{self.kernel.state.changes.count}"
            add(self.kernel, Tap(name=port, master=bridge))
            guest = self.fabric.attach(self.kernel, Vnic(port, mac), dhcp=True)
            self._guests[bridge, mac] = guest
        else:
            guest.renew()
        found = guest.lease
        if found is None:
            return None
        assert isinstance(found.gateway, IPv4Address)
        return Lease(IPv4Interface((found.address, found.prefix)), found.gateway, found.mtu)

    def residue(self) -> list[str]:
        nouns = self.kernel.state.nouns.values()
        return [str(noun) for noun in nouns if isinstance(noun, DhcpScope)]

    def close(self) -> None:
        """Nothing to take down."""
