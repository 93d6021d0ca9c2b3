"""Ports of the host that lead to a concentrator: nothing else may have them."""

from __future__ import annotations

from collections.abc import Sequence

from snnet.contract import Conflict, InvalidRequest, Owned, PortForward, PublicIp
from snnet.core.rivals import contend, contenders
from snnet.core.rules import Rule
from snnet.core.site import Site

from ..host import HostView


def check_free_ports(forwards: Sequence[PortForward], host: HostView) -> None:
    """Raise Conflict for a port that a program, a tunnel or another node of the host has.

    InvalidRequest for an ``address`` that the host does not have.
    """
    around, uplink = host.listing.surroundings, host.site.uplink.link_name
    for forward in forwards:
        if forward.address is not None and not around.has_address(forward.address):
            raise InvalidRequest(
                f"{forward.address} is not an address of this host", field="address"
            )
        around.check_port(forward, uplink)
        _check_mesh(forward, host.site)
    host.epoch()
    check_rivals(forwards, host)
    _check_listeners(forwards, host)


def check_rivals(rules: Sequence[PortForward | PublicIp], host: HostView) -> None:
    """Raise Conflict where a rule of another node is for the same packets.

    The other node had it in the last epoch that was asked for.
    """

    rivals, listing = host.rivals(), host.listing
    if not rivals.owners:
        return
    for rule in rules:
        addresses = [noun.address.ip for noun in listing.addresses(rule.device)]
        others = [*rivals.find(contenders(rule, addresses))]
        if isinstance(rule, PublicIp):
            others += [forward for forward in rivals.forwards() if contend(forward, rule)]
        for other in others:
            if isinstance(other, Owned):
                raise _contention(rule, other)


def _contention(rule: Rule, other: Owned) -> Conflict:
    advice = ""
    if any(isinstance(one, PortForward) and one.address is None for one in (rule, other)):
        advice = ": give each forward an address of its own"
    return Conflict(
        f"{other.owner} has {other} on this host, which is for packets of {rule}{advice}"
    )


def _check_mesh(forward: PortForward, site: Site) -> None:
    """Raise Conflict for the port of the mesh, which a subnet may need at any time."""
    wire = (forward.protocol, forward.port) == ("udp", site.port)
    if site.mesh and wire and forward.address in (None, site.ip):
        raise Conflict(
            f"port udp/{site.port} of this host is that of the mesh's tunnels, whose packets the "
            "forward would take: choose another port, or set mesh_port"
        )


def _check_listeners(forwards: Sequence[PortForward], host: HostView) -> None:
    """Raise Conflict for a port of a program of the host, which would get no packets any more."""
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
