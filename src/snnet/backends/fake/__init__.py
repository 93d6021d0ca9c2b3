"""Fakes of a host's kernel, firewall and DHCP server, and of the wire between hosts.

``FakeKernel`` is a state machine with the rules and errnos of a Linux kernel.
``FakeFirewall`` and ``FakeDhcp`` keep their nouns in it.  Nothing here touches the real
machine.  Nouns are defined in ``snnet.contract``; the engine that plans with them is in
``snnet.core``.
"""

from .dhcp import FakeDhcp
from .fabric import Connection, Fabric, Guest, Lease
from .firewall import FakeFirewall
from .kernel import FakeKernel, open_kernel

__all__ = [
    "Connection",
    "Fabric",
    "FakeDhcp",
    "FakeFirewall",
    "FakeKernel",
    "Guest",
    "Lease",
    "open_kernel",
]
