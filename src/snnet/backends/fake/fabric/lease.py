"""What a guest gets from a DHCP server."""

from __future__ import annotations

from typing import NamedTuple

from snnet.contract import IPAddress


class Lease(NamedTuple):
    """A DHCP lease; ``mtu`` in bytes.

    In IPv6, ``gateway`` is the router's link-local address, and ``server`` is named by the
    gateway of the scope.
    """

    address: IPAddress
    prefix: int
    gateway: IPAddress
    mtu: int
    server: IPAddress
