"""What every driver must do, as tests that its author inherits.

A third party's test file is an import and a fixture::

    from snnet.conformance import BackendSuite, RealPlace

    class TestMine(BackendSuite):
        @pytest.fixture
        def place(self):
            with RealPlace(MyBackend) as place:
                yield place

Likewise ``FirewallSuite`` with a ``rig`` (``RealRig``), ``DhcpSuite`` with a ``lan``
(``RealLan``), and ``StoreSuite`` with an ``open_store``.  Each test's docstring is the
promise it checks.  A place, a rig or a LAN is where the tests run: the real ones make
network namespaces (they need root), others may stand on anything that has links or
carries packets.

Here live the suites and where they run; they know the contract and how to make
namespaces, and no driver.  pytest is imported with this package.
"""

import pytest

# The tests are in modules that pytest does not collect, so it has to be told
# that their assertions are to be explained.
pytest.register_assert_rewrite(
    "snnet.conformance.backend",
    "snnet.conformance.dhcp",
    "snnet.conformance.firewall",
    "snnet.conformance.store",
)

from .backend import BackendSuite, Place, RealPlace  # noqa: E402
from .dhcp import DhcpSuite, Lan, Lease, RealLan  # noqa: E402
from .firewall import FirewallSuite  # noqa: E402
from .real import RealRig  # noqa: E402
from .rig import Answer, Conversation, Rig  # noqa: E402
from .store import StoreSuite  # noqa: E402

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
    "Rig",
    "StoreSuite",
]
