"""The things that calls about a concentrator's subnets claim, and what belongs to each."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.contract import InvalidRequest, IPAddress, Key, Noun, SharedSysctl
from snnet.core.addressing import Networks, written
from snnet.core.cnci_records import CnciRecords
from snnet.core.subnets import SHARED, CnciSubnet, is_outside

from ..claims import Thing

SUBNETS: Thing = ("subnets",)
"""The set of subnets: new ones come one at a time, for they may overlap or have one key."""

FORWARDING: Thing = ("forwarding",)
"""The kernel parameters that routing between subnets needs."""


def subnet_thing(networks: Networks) -> Thing:
    return ("subnet", networks)


def known_subnet(records: CnciRecords, networks: Networks) -> CnciSubnet:
    """Return a subnet; raise InvalidRequest if the node has no such subnet."""
    subnet = records.subnets.get(networks)
    if subnet is None:
        raise InvalidRequest(
            f"{written(networks)} is not a subnet of this concentrator: add_remote_subnet it first",
            field="subnet",
        )
    return subnet


def far_things(records: CnciRecords, remote: IPAddress) -> set[Thing]:
    """What keeps the tenant away from a far end; several tunnels may lead there."""
    return {SUBNETS} if is_outside(records.site, remote) else set()


def tunnel_thing(networks: Networks, remote: IPAddress) -> Thing:
    return ("tunnel", networks, remote)


def things_of(subnet: CnciSubnet, nouns: Iterable[Noun]) -> dict[Thing, set[Key]]:
    """Return the thing that each noun of a subnet belongs to."""
    whole = subnet_thing(subnet.networks)
    things = {
        noun.key: tunnel_thing(subnet.networks, remote)
        for remote, tunnel in subnet.tunnels.items()
        for noun in (tunnel, *subnet.beside(tunnel))
    }
    scope: dict[Thing, set[Key]] = {}
    for noun in nouns:
        if isinstance(noun, SharedSysctl):
            thing = FORWARDING
        elif isinstance(noun, SHARED):
            thing = SUBNETS
        else:
            thing = things.get(noun.key, whole)
        scope.setdefault(thing, set()).add(noun.key)
    return scope
