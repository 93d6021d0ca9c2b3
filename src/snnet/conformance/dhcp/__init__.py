"""The tests of DHCP drivers: the promises of ``DhcpScope``.

``lan`` defines the network that the tests need; ``real`` makes one of namespaces.
"""

from .lan import Lan, Lease
from .real import RealLan
from .suite import DhcpSuite

__all__ = ["DhcpSuite", "Lan", "Lease", "RealLan"]
