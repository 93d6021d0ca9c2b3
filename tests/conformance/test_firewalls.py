"""The firewall suite on every driver of snnet."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from snnet.conformance import FirewallSuite, RealRig, Rig
from snnet.conformance.firewall.flows import FlowTests
from snnet.contract import Operation, Outcome

from .fake_rig import FakeRig


class TestFake(FirewallSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls) -> Iterator[Rig]:
        with FakeRig() as rig:
            yield rig


@pytest.mark.kernel
class TestNftables(FirewallSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls) -> Iterator[Rig]:
        from snnet.firewall.nftables import NftablesFirewall

        with RealRig(NftablesFirewall) as rig:
            yield rig


@pytest.mark.kernel
@pytest.mark.sampled
class TestNftablesWithoutBrNetfilter(FirewallSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls) -> Iterator[Rig]:
        from snnet.firewall.nftables import NftablesFirewall

        with RealRig(NftablesFirewall, br_netfilter=False) as rig:
            yield rig


@pytest.mark.kernel
class TestNftablesThatKnowsAllRules(FlowTests):
    """As after ``init()``: the kernel finds connections by itself, where it can."""

    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls) -> Iterator[Rig]:
        from snnet.firewall.nftables import NftablesFirewall

        class Informed(NftablesFirewall):
            def apply(self, operations: Sequence[Operation], **options: Any) -> Outcome:
                self.snapshot()
                return super().apply(operations, **options)

        with RealRig(Informed) as rig:
            yield rig


class _Iptables(FirewallSuite):
    variant: str

    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls) -> Iterator[Rig]:
        from snnet.firewall.iptables import IptablesFirewall

        with RealRig(functools.partial(IptablesFirewall, variant=cls.variant)) as rig:
            yield rig


@pytest.mark.kernel
@pytest.mark.sampled
class TestIptablesNft(_Iptables):
    variant = "nft"


@pytest.mark.kernel
@pytest.mark.sampled
class TestIptablesLegacy(_Iptables):
    variant = "legacy"
