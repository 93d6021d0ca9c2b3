"""What only all documents of a file together show, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, groupby, product

from snnet.contract import InvalidRequest
from snnet.core.addressing import check_guests

from . import networks, vnics
from .claims import Claim, Id, claims_of, id_of
from .documents import Forward, Network, Vnic, Wanted, plain
from .problems import DocumentProblem, raise_all
from .security import group_field, groups_named

_Found = Iterator[tuple[Wanted, InvalidRequest]]
"""Objects of the file, each with what is wrong with it."""


def check_together(
    after: Mapping[Id, Wanted], given: Mapping[Id, int], stored: Mapping[Id, Wanted]
) -> None:
    """Raise everything that is wrong with the objects of a file.

    ``given`` has the number of each one's document.  ``after`` are all objects as the file and
    the registry say together; ``stored`` are those of now, whose contradictions among
    themselves are not the file's.
    """
    asked = [after[id] for id in given]
    found = [
        (item, one) for item in asked for one in (*_missing(item, after), *_unfit(item, after))
    ]
    found += _overlaps(after, given)
    found += _shared_ports(after, given)
    found += _claimed_twice(after, given, stored)
    raise_all([DocumentProblem(one, given[id_of(item)], item.title) for item, one in found])


def _missing(wanted: Wanted, after: Mapping[Id, Wanted]) -> Iterator[InvalidRequest]:
    def lacking(kind: str, name: str, field: str) -> InvalidRequest:
        return InvalidRequest(f"there is no {kind} {name!r}: add a document for it", field=field)

    network = getattr(wanted, "network", None)
    if network and ("network", wanted.tenant, network) not in after:
        yield lacking("network", network, "network")
    target = getattr(wanted, "to", None)
    if target:
        vnic = after.get(("vnic", wanted.tenant, target))
        if vnic is None:
            yield lacking("vnic", target, "to")
        elif isinstance(vnic, Vnic) and network not in (None, vnic.network):
            why = f"vnic {target!r} is on network {vnic.network!r}, not {network!r}"
            yield InvalidRequest(why, field="to")
    for name in groups_named(wanted):
        if ("group", wanted.tenant, name) not in after:
            yield lacking("group", name, group_field(wanted))


def _unfit(wanted: Wanted, after: Mapping[Id, Wanted]) -> Iterator[InvalidRequest]:
    """What is wrong with a network, or with a VNIC on its network."""
    try:
        if isinstance(wanted, Network):
            networks.check_mtu(wanted, wanted.mtu)
        if isinstance(wanted, Vnic):
            network = after.get(("network", wanted.tenant, wanted.network))
            if isinstance(network, Network):
                check_guests(wanted.ip, network.subnet)
                vnics.check_fits(wanted, network)
    except InvalidRequest as error:
        yield error


def _overlaps(after: Mapping[Id, Wanted], given: Mapping[Id, int]) -> _Found:
    """A problem for each two networks of a tenant that overlap, if the file has one of them."""
    found = [item for item in after.values() if isinstance(item, Network)]
    # Of two in the file the later one is named.
    found.sort(key=lambda item: given.get(id_of(item), 0))
    for other, one in combinations(found, 2):
        if one.tenant != other.tenant or id_of(one) not in given:
            continue
        for a, b in product(one.subnet, other.subnet):
            if a.version == b.version and a.overlaps(b):
                why = f"{a} overlaps {b} of {other.title}: choose another subnet"
                yield one, InvalidRequest(why, field="subnet")


def _shared_ports(after: Mapping[Id, Wanted], given: Mapping[Id, int]) -> _Found:
    """A problem for each forward whose ports another one of the tenant has, too."""

    def place(forward: Forward) -> tuple[str, str]:
        return forward.tenant, forward.protocol

    found = [item for item in after.values() if isinstance(item, Forward)]
    found.sort(key=lambda item: (*place(item), item.port[0]))
    for _, group in groupby(found, place):
        last: Forward | None = None
        for item in group:
            if last is not None and last.overlaps(item):
                one, other = (item, last) if id_of(item) in given else (last, item)
                if id_of(one) in given:
                    why = f"{plain(one.port)} overlaps {other.title}: choose other ports"
                    yield one, InvalidRequest(why, field="port")
            if last is None or item.port[-1] > last.port[-1]:
                last = item


def _claimed_twice(
    after: Mapping[Id, Wanted], given: Mapping[Id, int], stored: Mapping[Id, Wanted]
) -> _Found:
    """A problem for each object of the file that asks for what another one has or asks for."""
    holders: dict[Claim, Wanted] = {}
    # Those that are not in the file first, so that the file's are named.
    for wanted in sorted(after.values(), key=lambda item: given.get(id_of(item), 0)):
        for claim in claims_of(wanted):
            holder = holders.setdefault(claim, wanted)
            if holder is wanted or id_of(wanted) not in given:
                continue
            old = [stored.get(id_of(one)) for one in (holder, wanted)]
            if not all(one is not None and claim in claims_of(one) for one in old):
                what, value = claim[0], claim[-1]
                why = f"{value} is that of {holder.title}: choose another"
                yield wanted, InvalidRequest(why, field=what)
                break  # with an address its MAC is another's, too
