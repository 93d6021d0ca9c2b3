"""The tests that every driver must pass, for its author to inherit.

A third party's test file is an import and a fixture::

    from snnet.conformance import BackendSuite, RealPlace

    class TestMine(BackendSuite):
        @pytest.fixture
        def place(self):
            with RealPlace(MyBackend) as place:
                yield place

In the same way, ``FirewallSuite`` takes a ``rig`` (``RealRig``), ``DhcpSuite`` a ``lan``
(``RealLan``) and ``RegistrySuite`` a ``place`` of its own (``RegistryPlace``).  The docstring
of each test is the promise that it checks.  A place, a rig or a LAN is where the tests run.
The real ones make network namespaces and need root; your own can use anything that has
links or carries packets.

This package contains the suites and the places where they run.  It imports the contract
and the code for namespaces, and no driver.  Importing it imports pytest.
"""

import pytest

# pytest does not collect these modules, so it must be asked to rewrite their assertions.
pytest.register_assert_rewrite(
    "snnet.conformance.backend",
    "snnet.conformance.dhcp",
    "snnet.conformance.firewall",
    "snnet.conformance.registry",
)

from .backend import BackendSuite, Place, RealPlace  # noqa: E402
from .dhcp import DhcpSuite, Lan, Lease, RealLan  # noqa: E402
from .firewall import FirewallSuite  # noqa: E402
from .real import RealRig  # noqa: E402
from .registry import RegistryPlace, RegistrySuite  # noqa: E402
from .rig import Answer, Conversation, Rig  # noqa: E402

__all__ = [
    "Answer",
    "BackendSuite",
    "Conversation",
    "DhcpSuite",
    "FirewallSuite",
    "Lan",
    "Lease",
    "Place",
    "RealLan",
    "RealPlace",
    "RealRig",
    "RegistryPlace",
    "RegistrySuite",
    "Rig",
]
