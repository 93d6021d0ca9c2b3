"""The kit's tests of single rules and of batches, on programs in memory: no root."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from snnet.conformance import Rig
from snnet.conformance.endpoints import Endpoint
from snnet.conformance.firewall.batches import BatchTests
from snnet.conformance.firewall.identity import IdentityTests
from snnet.conformance.rig import Answer, Conversation
from snnet.contract import Driver, IPAddress, IPInterface
from snnet.firewall.iptables import IptablesFirewall
from snnet.firewall.nftables import NftablesFirewall
from snnet.system.host import RealHost
from snnet.system.process import Completed

from . import programs
from .nf_tables import NAMES as NFT_NAMES
from .nf_tables import NfTables
from .xtables import NAMES, Xtables


class PaperRig(Rig):
    """A rig on whose hub rules are written down and no packet goes anywhere."""

    owner = "cnci:hub"

    def __init__(
        self, opened: Callable[[RealHost], Driver], runtime: Path, rules: Callable[[], str]
    ) -> None:
        self._rules = rules
        self._opened = opened
        self._runtime = runtime
        self._hosts: list[RealHost] = []
        self._drivers: list[Driver] = []
        self.driver = self.another()

    def another(self, owner: str | None = None) -> Driver:
        host = RealHost(owner=owner or self.owner, runtime=self._runtime)
        self._hosts.append(host)
        driver = self._opened(host)
        self._drivers.append(driver)
        return driver

    def ruleset(self) -> str:
        return self._rules()

    def foreign_rules(self) -> AbstractContextManager[Callable[[], str]]:
        raise NotImplementedError("tests/conformance does this on the kernel")

    def add_address(self, link: str, address: IPInterface) -> None:
        pass

    def reset(self) -> None:
        pass

    def close(self) -> None:
        for driver in self._drivers:
            driver.close()
        for host in self._hosts:
            host.close()

    def _no_packets(self, *_: object, **__: object) -> bool:
        raise NotImplementedError("no packet goes anywhere here")

    ping = forge = arp = dhcp = tracks = gre = delivers = crafted = says = learns = strange = (
        _no_packets
    )
    resolve = _no_packets

    def connect(
        self, source: Endpoint, address: IPAddress, protocol: str, port: int
    ) -> Answer | None:
        raise NotImplementedError("no packet goes anywhere here")

    def converse(self, source: Endpoint, address: IPAddress, port: int) -> Conversation:
        raise NotImplementedError("no packet goes anywhere here")


class InMemory(IdentityTests, BatchTests):
    """What is about single rules and batches; threads at work at once are the kernel's."""

    test_threads_and_drivers_at_once: Any = None
    test_one_of_many_threads_wins: Any = None


class TestIptables(InMemory):
    @pytest.fixture
    def rig(
        self, tmp_path: Path, patch: pytest.MonkeyPatch, xtables: Xtables, nf_tables: NfTables
    ) -> Iterator[Rig]:
        def program(argv: Sequence[str], text: str) -> Completed:
            return (nf_tables if argv[0] in NFT_NAMES else xtables)(argv, text)

        def opened(host: RealHost) -> Driver:
            return IptablesFirewall(host, variant="nft")

        def rules() -> str:
            return xtables.rules() + nf_tables.text()

        programs.install(patch, tmp_path / "both", [*NAMES, *NFT_NAMES], program)
        with PaperRig(opened, tmp_path / "run", rules) as rig:
            yield rig


class TestNftables(InMemory):
    @pytest.fixture
    def rig(self, tmp_path: Path, nf_tables: NfTables) -> Iterator[Rig]:
        with PaperRig(NftablesFirewall, tmp_path / "run", nf_tables.text) as rig:
            yield rig
