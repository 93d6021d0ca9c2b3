"""What only all documents of a file together show, before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations, groupby, product

from snnet.contract import InvalidRequest
from snnet.core.addressing import check_guests

from . import networks, vnics
from .claims import Claim, Id, claims_of, id_of
from .documents import Forward, Network, Vnic, Wanted, plain
from .problems import raise_all
from .security import groups_named


def check_together(
    after: Mapping[Id, Wanted], given: Collection[Id], stored: Mapping[Id, Wanted]
) -> None:
    """Raise everything that is wrong with the objects of a file, named by ``given``.

    ``after`` are all objects as the file and the registry say together; ``stored`` are those
    of now, whose contradictions among themselves are not the file's.
    """
    problems: list[InvalidRequest] = []
    for id in given:
        wanted = after[id]
        found = [*map(InvalidRequest, _missing(wanted, after)), *_unfit(wanted, after)]
        problems += [InvalidRequest(str(one), field=wanted.title) for one in found]
    problems += _overlaps(after, given)
    problems += _shared_ports(after, given)
    problems += _claimed_twice(after, given, stored)
    raise_all(problems)


def _missing(wanted: Wanted, after: Mapping[Id, Wanted]) -> Iterator[str]:
    network = getattr(wanted, "network", None)
    if network and ("network", wanted.tenant, network) not in after:
        yield f"there is no network {network!r}: add a document for it"
    target = getattr(wanted, "to", None)
    if target:
        vnic = after.get(("vnic", wanted.tenant, target))
        if vnic is None:
            yield f"there is no vnic {target!r}: add a document for it"
        elif isinstance(vnic, Vnic) and network not in (None, vnic.network):
            yield f"to: vnic {target!r} is on network {vnic.network!r}, not {network!r}"
    for name in groups_named(wanted):
        if ("group", wanted.tenant, name) not in after:
            yield f"there is no group {name!r}: add a document for it"


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


def _overlaps(after: Mapping[Id, Wanted], given: Collection[Id]) -> Iterator[InvalidRequest]:
    """A problem for each two networks of a tenant that overlap, if the file has one of them."""
    found = [item for item in after.values() if isinstance(item, Network)]
    for one, other in combinations(found, 2):
        if one.tenant != other.tenant or not (id_of(one) in given or id_of(other) in given):
            continue
        for a, b in product(one.subnet, other.subnet):
            if a.version == b.version and a.overlaps(b):
                yield InvalidRequest(f"{a} overlaps {b} of {other.title}", field=one.title)


def _shared_ports(after: Mapping[Id, Wanted], given: Collection[Id]) -> Iterator[InvalidRequest]:
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
                    yield InvalidRequest(
                        f"port: {plain(one.port)} overlaps {other.title}: choose other ports",
                        field=one.title,
                    )
            if last is None or item.port[-1] > last.port[-1]:
                last = item


def _claimed_twice(
    after: Mapping[Id, Wanted], given: Collection[Id], stored: Mapping[Id, Wanted]
) -> Iterator[InvalidRequest]:
    """A problem for each object of the file that asks for what another one has or asks for."""
    holders: dict[Claim, Wanted] = {}
    # Those that are not in the file first, so that the file's are named.
    for wanted in sorted(after.values(), key=lambda item: id_of(item) in given):
        for claim in claims_of(wanted):
            holder = holders.setdefault(claim, wanted)
            if holder is wanted or id_of(wanted) not in given:
                continue
            old = [stored.get(id_of(one)) for one in (holder, wanted)]
            if not all(one is not None and claim in claims_of(one) for one in old):
                what, value = claim[0], claim[-1]
                yield InvalidRequest(
                    f"{what}: {value} is that of {holder.title}: choose another",
                    field=wanted.title,
                )
                break  # with an address its MAC is another's, too
