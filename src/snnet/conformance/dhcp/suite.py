"""All the tests of a DHCP driver in one class."""

from __future__ import annotations

from .leases import LeaseTests
from .scopes import ScopeTests


class DhcpSuite(ScopeTests, LeaseTests):
    """Subclass it and give it a fixture ``lan``, a new :class:`~snnet.conformance.Lan` a test.

    Where ``driver.missing()`` has a reason (its program is not installed, say), a
    scope must be refused as ``Unsupported``, and the tests end as expected failures.
    """
