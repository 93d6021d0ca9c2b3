"""Ports of the host that lead to a concentrator: nothing else may have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from snnet.contract import Conflict, InvalidRequest, Owned, PortForward

from ..host import HostView


def check_ports(forwards: Sequence[PortForward], host: HostView) -> None:
    """Raise Conflict for a port that a program, a tunnel or another node of the host has.

    InvalidRequest for an ``address`` that the host does not have.
    """
    around, uplink = host.surroundings(), host.site.uplink.link_name
    for forward in forwards:
        if forward.address is not None and not around.has_address(forward.address):
            raise InvalidRequest(
                f"{forward.address} is not an address of this host", field="address"
            )
        around.check_port(forward, uplink)
        others = [replace(forward, owner=owner) for owner in sorted(around.owners)]
        for other in host.find(others).values():
            if isinstance(other, Owned):
                raise Conflict(f"{other.owner} has {other} on this host")
    _check_listeners(forwards, host)


def _check_listeners(forwards: Sequence[PortForward], host: HostView) -> None:
    """A forward would take away what a program of the host gets."""
    listeners = host.listeners()
    for forward in forwards:
        mine = (forward.address,) if forward.address else forward.addresses
        for one in listeners:
            if (one.protocol, one.port) == (forward.protocol, forward.port) and (
                one.address is None or one.address in mine
            ):
                raise Conflict(
                    f"port {forward.protocol}/{forward.port} of this host is in use by {one.what}: "
                    "stop it, or choose another port"
                )
