"""The kit's tests of single rules and of batches, on programs in memory: no root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from snnet.conformance import Rig
from snnet.conformance.firewall.batches import BatchTests
from snnet.conformance.firewall.identity import IdentityTests
from snnet.conformance.places import Place
from snnet.conformance.rig import Answer, Conversation
from snnet.contract import Driver, IPAddress
from snnet.firewall.iptables import IptablesFirewall
from snnet.system.host import SystemHost

from .xtables import Xtables


class PaperRig(Rig):
    """A rig on whose hub rules are written down and no packet goes anywhere."""

    owner = "cnci:hub"

    def __init__(
        self, opened: Callable[[SystemHost], Driver], runtime: Path, tables: Xtables
    ) -> None:
        self.tables = tables
        self._opened = opened
        self._runtime = runtime
        self._hosts: list[SystemHost] = []
        self.driver = self.another()

    def another(self, owner: str | None = None) -> Driver:
        host = SystemHost(owner or self.owner, runtime=self._runtime)
        self._hosts.append(host)
        return self._opened(host)

    def ruleset(self) -> str:
        return self.tables.rules()

    def stranger(self) -> AbstractContextManager[Callable[[], str]]:
        raise NotImplementedError("tests/conformance does this on the kernel")

    def add_address(self, link: str, address: IPv4Interface) -> None:
        pass

    def reset(self) -> None:
        pass

    def close(self) -> None:
        for host in self._hosts:
            host.close()

    def _no_packets(self, *_: object, **__: object) -> bool:
        raise NotImplementedError("no packet goes anywhere here")

    ping = forge = arp = dhcp = strange = resolve = _no_packets

    def connect(self, source: Place, address: IPAddress, protocol: str, port: int) -> Answer | None:
        raise NotImplementedError("no packet goes anywhere here")

    def converse(self, source: Place, address: IPv4Address, port: int) -> Conversation:
        raise NotImplementedError("no packet goes anywhere here")


class _OnIptables(IdentityTests, BatchTests):
    variant: str

    @pytest.fixture
    def rig(self, tmp_path: Path, xtables: Xtables) -> Iterator[Rig]:
        def opened(host: SystemHost) -> Driver:
            return IptablesFirewall(host, variant=self.variant)

        with PaperRig(opened, tmp_path / "run", xtables) as rig:
            yield rig


class TestIptablesNft(_OnIptables):
    variant = "nft"


class TestIptablesLegacy(_OnIptables):
    variant = "legacy"
