"""Who is meant: a VNIC by its name, somebody by an address, or the owner of a link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from snnet.contract import InvalidRequest, IPAddress, Link

from .vnics import Vnic
from .world import World


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody on the hosts or beyond them.

    One of: the guest on ``vnic``; the namespace that is a ``station`` of the world; a guest on
    the host ``absent``, which gave no answer; or none of these, for an address that nobody has.
    ``addresses`` are those that were named, or all.
    """

    addresses: tuple[IPAddress, ...]
    vnic: Vnic | None = None
    station: str | None = None
    absent: str = ""

    def address(self, version: int) -> IPAddress | None:
        """Return its first address of this version of IP."""
        return next((one for one in self.addresses if one.version == version), None)


def find_target(world: World, text: str, tenant: str | None) -> Place:
    """Return who is meant, as ``find`` does; an address stands for whoever answers for it."""
    try:
        return Place((ip_address(text),))
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
        return Place((address,), mine[0])
    for station, kernel in world.kernels.items():
        if address in kernel.state.local:
            return Place((address,), station=station)
    return Place((address,))


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
        return Place(found[0].ips, found[0])
    host, _, name = text.rpartition(":")
    links = [
        (station, link)
        for station, kernel in world.kernels.items()
        if host in ("", world.host_of(station)) and (link := kernel.state.link(name)) is not None
    ]
    if len({world.host_of(station) for station, _ in links}) > 1:
        hosts = ", ".join(f"{world.host_of(station)}:{name}" for station, _ in links[:5])
        raise InvalidRequest(f"{text!r} may be one of {hosts}: name the host, too", field=field)
    if links:
        return _of_link(world, *links[0], field)
    known = ", ".join(sorted({one.name for one in world.vnics})[:5]) or "none"
    where = "this host" if world.is_one else "the hosts that answered"
    raise InvalidRequest(
        f"{text!r} is no VNIC{f' of tenant {tenant}' if tenant else ''}, link or address of "
        f"{where}; VNICs here: {known}",
        field=field,
    )


def _of_link(world: World, station: str, link: Link, field: str) -> Place:
    state = world.kernels[station].state
    addresses = [
        one.address.ip for version in (4, 6) for one in state.addresses(link.name, version)
    ]
    if not addresses:
        raise InvalidRequest(
            f"link {link.name} has no address: name a VNIC, an address or another link",
            field=field,
        )
    return Place(tuple(addresses), station=station)


def _several(text: str, found: Sequence[Vnic], field: str) -> InvalidRequest:
    names = ", ".join(f"{one.link_name} ({one})" for one in found[:5])
    return InvalidRequest(
        f"{text!r} may be one of {names}: set --tenant, or name the link", field=field
    )
