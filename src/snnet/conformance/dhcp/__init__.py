"""What a DHCP driver must do: the promises of ``DhcpScope``, as tests.

``lan`` says what a network is to the tests, ``real`` makes one of namespaces.
"""

from .lan import Lan, Lease
from .real import RealLan
from .suite import DhcpSuite

__all__ = ["DhcpSuite", "Lan", "Lease", "RealLan"]
