"""Who is meant: a VNIC by its name, somebody by an address, or the owner of a link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from snnet.contract import InvalidRequest, IPAddress, Link

from .world import Vnic, World


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody on the host or beyond it.

    One of: the guest on ``vnic``; the namespace ``space`` of the host; or neither, for an
    address that nobody on the host has.  ``addresses`` are those that were named, or all.
    """

    text: str
    addresses: tuple[IPAddress, ...]
    vnic: Vnic | None = None
    space: str | None = None

    def address(self, version: int) -> IPAddress | None:
        """Return its first address of this version of IP."""
        return next((one for one in self.addresses if one.version == version), None)


def find_target(world: World, text: str, tenant: str | None) -> Place:
    """Return who is meant, as ``find`` does; an address stands for whoever answers for it."""
    try:
        return Place(text, (ip_address(text),))
    except ValueError:
        return _by_name(world, text, tenant, "to")


def find(world: World, text: str, tenant: str | None, field: str = "from") -> Place:
    """Return who is meant; InvalidRequest if that is nobody, or may be several."""
    try:
        address = ip_address(text)
    except ValueError:
        return _by_name(world, text, tenant, field)
    mine = [one for one in world.vnics if one.has(address) and tenant in (None, one.tenant)]
    if len(mine) > 1:
        raise _several(text, mine, field)
    if mine:
        return Place(text, (address,), mine[0])
    for name, kernel in world.kernels.items():
        if address in kernel.state.local:
            return Place(text, (address,), space=name)
    return Place(text, (address,))


def knows(world: World, text: str, tenant: str | None) -> bool:
    """Return whether the tenant has such a VNIC."""
    return any(text == vnic.name and vnic.tenant == tenant for vnic in world.vnics)


def _by_name(world: World, text: str, tenant: str | None, field: str) -> Place:
    found = [
        one
        for one in world.vnics
        if text == one.link_name or (text == one.name and tenant in (None, one.tenant))
    ]
    if len(found) > 1:
        raise _several(text, found, field)
    if found:
        return Place(text, found[0].ips, found[0])
    for name, kernel in world.kernels.items():
        if (link := kernel.state.link(text)) is not None:
            return _of_link(world, link, name, field)
    known = ", ".join(sorted({one.name for one in world.vnics})[:5]) or "none"
    raise InvalidRequest(
        f"{text!r} is no VNIC{f' of tenant {tenant}' if tenant else ''}, link or address of this "
        f"host; VNICs here: {known}",
        field=field,
    )


def _of_link(world: World, link: Link, space: str, field: str) -> Place:
    state = world.kernels[space].state
    addresses = [
        one.address.ip for version in (4, 6) for one in state.addresses(link.name, version)
    ]
    if not addresses:
        raise InvalidRequest(
            f"link {link.name} has no address: name a VNIC, an address or another link",
            field=field,
        )
    return Place(link.name, tuple(addresses), space=space)


def _several(text: str, found: Sequence[Vnic], field: str) -> InvalidRequest:
    names = ", ".join(f"{one.link_name} ({one})" for one in found[:5])
    return InvalidRequest(
        f"{text!r} may be one of {names}: set --tenant, or name the link", field=field
    )
