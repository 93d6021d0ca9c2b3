"""The backend suite on every backend of snnet."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from snnet.conformance import BackendSuite, Place, RealPlace
from snnet.conformance.backend.mistakes import GROUND, MISTAKES
from snnet.conformance.backend.nouns import GRETAP
from snnet.conformance.backend.steps import do
from snnet.contract import Add, DhcpScope, Unsupported
from tests.conftest import kernel_has

from .fake_place import FakePlace


class OwnBackend(BackendSuite):
    """The kit, and what third parties may do in another way."""

    def test_bad_values_are_rejected(self, place: Place) -> None:
        """Each mistake has the class of the kernel's errno, never ``InvalidRequest``."""
        do(place, *map(Add, GROUND))
        wrong = {}
        for operation, cls in MISTAKES:
            error = place.driver.apply([operation]).error
            declared = type(error) is Unsupported and place.driver.missing(operation.noun)
            if type(error) is not cls and not declared:
                wrong[str(operation)] = error
        assert wrong == {}


class TestFake(OwnBackend):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        with FakePlace() as place:
            yield place


GRETAP_GAP = "this kernel has no gretap: load ip_gre or set tunnel 'vxlan'"


@pytest.mark.kernel
class TestNetlink(OwnBackend):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        from snnet.backends.netlink import NetlinkBackend

        with RealPlace(NetlinkBackend) as place:
            yield place


@pytest.mark.kernel
@pytest.mark.sampled
class TestIprouteShell(OwnBackend):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        from snnet.backends.iproute_shell import IprouteShellBackend

        with RealPlace(IprouteShellBackend) as place:
            yield place


@pytest.mark.kernel
def test_gaps_say_what_to_do() -> None:
    """The same words, from every backend of the kernel."""
    from snnet.backends.iproute_shell import IprouteShellBackend
    from snnet.backends.netlink import NetlinkBackend

    scope = DhcpScope(link="br", subnets=(IPv4Network("10.0.0.0/24"),), mtu=1500)
    for backend in (NetlinkBackend, IprouteShellBackend):
        with RealPlace(backend) as place:
            assert place.driver.missing(GRETAP) == (None if kernel_has("gretap") else GRETAP_GAP)
            assert "does not carry DhcpScope" in (place.driver.missing(scope) or "")
