"""The LAN of the DHCP suite on the fake: a fabric, and the fake DHCP driver on its host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface

import snnet
from snnet.backends.fake import FakeDhcp, Guest
from snnet.conformance import Lan, Lease
from snnet.contract import Add, Address, Bridge, DhcpScope, Driver, Noun, Remove, Tap


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
        self._add(Bridge(name=name), *(Address(link=name, address=gateway) for gateway in gateways))

    def remove_bridge(self, name: str) -> None:
        outcome = self.kernel.apply([Remove(Bridge(name=name))])
        assert outcome.error is None, outcome.error
        self._guests = {key: guest for key, guest in self._guests.items() if key[0] != name}

    def lease(self, bridge: str, mac: str, tries: int = 1) -> Lease | None:
        """There is no time: who is not answered once never is."""
        guest = self._guests.get((bridge, mac))
        if guest is None:
            port = f"p{self.kernel.state.changes.count}"
            self._add(Tap(name=port, master=bridge))
            guest = self.fabric.attach(self.kernel, _Vnic(port, mac), dhcp=True)
            self._guests[bridge, mac] = guest
        else:
            guest.renew()
        found = guest.lease
        if found is None:
            return None
        return Lease(IPv4Interface((found.address, found.prefix)), found.gateway, found.mtu)

    def residue(self) -> list[str]:
        nouns = self.kernel.state.nouns.values()
        return [str(noun) for noun in nouns if isinstance(noun, DhcpScope)]

    def close(self) -> None:
        """Nothing to take down."""

    def _add(self, *nouns: Noun) -> None:
        outcome = self.kernel.apply([Add(noun) for noun in nouns])
        assert outcome.error is None, outcome.error


@dataclass(frozen=True)
class _Vnic:
    link_name: str
    mac: str
