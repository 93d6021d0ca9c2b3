"""All tests of a DHCP driver in one class."""

from __future__ import annotations

from .leases import LeaseTests
from .scopes import ScopeTests


class DhcpSuite(ScopeTests, LeaseTests):
    """Subclass it and give it a fixture ``lan``: a new :class:`~snnet.conformance.Lan` each test.

    If ``driver.missing()`` gives a reason (its program is not installed, say), Add of a
    scope must be ``Unsupported``, and the tests end as expected failures.
    """
