"""The DHCP suite on every DHCP driver of snnet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet.conformance import DhcpSuite, Lan, RealLan

from .fake_place import FakeLan


class TestFake(DhcpSuite):
    @pytest.fixture
    def lan(self) -> Iterator[Lan]:
        with FakeLan() as lan:
            yield lan


@pytest.mark.kernel
class TestDnsmasq(DhcpSuite):
    @pytest.fixture
    def lan(self) -> Iterator[Lan]:
        from snnet.dhcp.dnsmasq import Dnsmasq

        with RealLan(Dnsmasq) as lan:
            yield lan
