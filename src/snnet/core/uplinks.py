"""Uplinks: which of a node's links carry tenant and management traffic, by which address."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from snnet.contract import (
    Address,
    Bridge,
    InvalidRequest,
    IPAddress,
    IPInterface,
    IPNetwork,
    Link,
    Noun,
    Tunnel,
)
from snnet.contract.network import DADFAILED, SECONDARY, TEMPORARY, TENTATIVE

from . import identity as ids
from .identity import Owner

_FOREIGN_BRIDGES = re.compile(r"docker.*|br-[0-9a-f]{12}|virbr.*")
"""Bridges of Docker and libvirt: they lead to guests of somebody else."""

_CARDS = frozenset({"physical", "bond", "vlan", "macvlan", "team"})
"""Links that lead out of the host; a bridge with one of them as a port does so too."""

_VIRTUAL = frozenset({"veth", "tap"})
"""What a host that is a container or a VM may have instead."""

_UNUSABLE = (SECONDARY, TEMPORARY, TENTATIVE, DADFAILED)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Uplink:
    """An address of the node on a link to the data centre.  ``mtu`` in bytes."""

    link_name: str
    index: int
    address: IPInterface
    mtu: int
    compute: bool
    management: bool

    @property
    def ip(self) -> IPAddress:
        return self.address.ip

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "link_name": self.link_name,
            "index": self.index,
            "address": str(self.address),
            "mtu": self.mtu,
            "compute": self.compute,
            "management": self.management,
        }

    def __repr__(self) -> str:
        uses = "".join(f" {use}" for use in ("compute", "management") if getattr(self, use))
        return f"<Uplink {self.link_name} {self.address} mtu {self.mtu}{uses}>"

    def __str__(self) -> str:
        return f"{self.link_name} {self.address}"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A link with one of its addresses, or without any; ``why`` it cannot be an uplink."""

    link: Link
    address: IPInterface | None
    why: str = ""

    @property
    def place(self) -> tuple[str, IPInterface | None]:
        return self.link.name, self.address


def find_uplinks(
    nouns: Iterable[Noun],
    compute_nets: Sequence[IPNetwork],
    management_nets: Sequence[IPNetwork],
    *,
    owner: Owner | None = None,
    publics: Collection[IPAddress] = (),
) -> tuple[Uplink, ...]:
    """The uplinks among the links and addresses found, by ifindex, then in the order given.

    The nouns come in the order in which the kernel lists them.  With nets given: every
    link, up or not, that has an address inside them.  Without compute nets: the only real
    link that has an address, or where there is none the only veth or tap; without
    management nets: the compute uplinks.  Secondary, deprecated, tentative, temporary and
    duplicate addresses do not count, nor a /32 or /128 beside another address, nor those
    in ``publics``; an address that tunnels of ``owner`` have counts whatever its flags.
    InvalidRequest names the nets and every link with the reason why it was passed over.
    """
    seen = _look(list(nouns), owner, publics)
    compute = _choose(seen, compute_nets, "compute_nets")
    management = _choose(seen, management_nets, "management_nets") if management_nets else compute
    return tuple(
        Uplink(
            link_name=one.link.name,
            index=one.link.index,
            address=one.address,
            mtu=one.link.mtu or 1500,
            compute=one.place in compute,
            management=one.place in management,
        )
        for one in seen
        if one.address is not None and one.place in compute | management
    )


def choose_uplink(uplinks: Sequence[Uplink], nouns: Iterable[Noun], owner: Owner) -> Uplink:
    """The uplink to use: the one whose address tunnels of ``owner`` have, else the first.

    So a restart keeps the tunnels while their address is there.
    """
    used = local_addresses(nouns, owner)
    compute = [uplink for uplink in uplinks if uplink.compute]
    return max(compute, key=lambda uplink: used[uplink.ip])  # the first of equal ones


def local_addresses(nouns: Iterable[Noun], owner: Owner | None) -> Counter[IPAddress]:
    """How many tunnels of the owner have each local address."""
    return Counter(
        noun.wire_local
        for noun in nouns
        if isinstance(noun, Tunnel)
        and noun.wire_local is not None
        and owner is not None
        and ids.claimed(noun, owner) is not None
    )


def _look(
    nouns: Sequence[Noun], owner: Owner | None, publics: Collection[IPAddress]
) -> list[_Seen]:
    """Every link, once for each of its addresses, by ifindex."""
    links = {noun.name: noun for noun in nouns if isinstance(noun, Link)}
    used = local_addresses(nouns, owner)
    addresses: dict[str, list[Address]] = {}
    for noun in nouns:
        if isinstance(noun, Address) and noun.link in links:
            addresses.setdefault(noun.link, []).append(noun)
    cards = {link.master for link in links.values() if link.kind in _CARDS}
    seen = []
    for link in sorted(links.values(), key=lambda link: link.index):
        why = _why_no_uplink(link, cards)
        mine = sorted(addresses.get(link.name, ()), key=lambda noun: noun.address.version)
        if link.kind == "loopback":
            mine = []
        extra = _additions([noun for noun in mine if noun.address.ip not in publics])
        for noun in mine:
            in_use = used[noun.address.ip] > 0 and noun.address.ip not in publics
            reason = why or ("" if in_use else _why_not(noun, extra, publics))
            seen.append(_Seen(link, noun.address, reason))
        if not mine:
            seen.append(_Seen(link, None, why or "no address"))
    return seen


def _why_no_uplink(link: Link, cards: Collection[str | None]) -> str:
    if link.kind == "loopback":
        return "the loopback"
    if ids.grouped(link):
        return "made by snnet"
    if link.master is not None:  # it has no traffic of its own
        return f"a port of {link.master}"
    if isinstance(link, Bridge):
        if _FOREIGN_BRIDGES.fullmatch(link.name):
            return "a bridge of Docker or libvirt"
        if link.name not in cards:
            return "a bridge without a physical port"
    return ""


def _why_not(noun: Address, extra: Collection[Address], publics: Collection[IPAddress]) -> str:
    """Why an address of a link that may be an uplink is not the node's."""
    if noun.address.ip in publics:
        return "a public address of this node"
    if flag := _flag(noun):
        return flag
    if noun in extra:
        return f"a /{noun.address.network.prefixlen} beside another address"
    return ""


def _flag(noun: Address) -> str:
    """What the kernel says of the address that makes it no uplink's, or ""."""
    flag = next((flag for flag in _UNUSABLE if flag in noun.flags), "")
    return flag or ("deprecated" if noun.deprecated else "")


def _additions(mine: Sequence[Address]) -> list[Address]:
    """The addresses of one link that others (keepalived, say) put beside its own."""
    extra = []
    for version in (4, 6):
        usable = [noun for noun in mine if noun.address.version == version and not _flag(noun)]
        alone = [
            noun for noun in usable if noun.address.network.prefixlen == noun.address.max_prefixlen
        ]
        # Where there is nothing else, as in many clouds, the first one is the host's own.
        extra += alone if len(alone) < len(usable) else alone[1:]
    return extra


def _choose(
    seen: Sequence[_Seen], nets: Sequence[IPNetwork], field: str
) -> set[tuple[str, IPInterface | None]]:
    usable = [one for one in seen if not one.why]
    if nets:
        inside = {one.place for one in usable if _inside(one, nets)}
        if inside:
            return inside
        raise InvalidRequest(
            f"no link of this node has an address in {', '.join(map(str, nets))}; "
            f"{_listed(seen, nets)}",
            field=field,
        )
    for kinds in ({*_CARDS, *Bridge.kinds}, _VIRTUAL):
        found = [one for one in usable if one.link.kind in kinds]
        if found:
            break
    if len({one.link.name for one in found}) != 1:
        raise InvalidRequest(
            "no nets are given, and this node has not exactly one real link with an address; "
            f"{_listed(seen, ())}; name the nets",
            field=field,
        )
    return {one.place for one in found}


def _inside(one: _Seen, nets: Sequence[IPNetwork]) -> bool:
    address = one.address
    return address is not None and any(
        address.version == net.version and address.ip in net for net in nets
    )


def _listed(seen: Sequence[_Seen], nets: Sequence[IPNetwork]) -> str:
    """Every link that was seen, with why it was passed over; those of snnet by number."""
    ours = len({one.link.name for one in seen if ids.grouped(one.link)})
    words = []
    for one in seen:
        if ids.grouped(one.link):
            continue
        name = one.link.name if one.address is None else f"{one.link.name} {one.address}"
        why = one.why
        if not why and nets and not _inside(one, nets):
            why = "outside the nets"
        elif not why and one.link.kind not in {*_CARDS, *Bridge.kinds, *_VIRTUAL}:
            why = f"a link of kind {one.link.kind}"
        words.append(f"{name}: {why}" if why else name)
    if ours:
        words.append(f"{ours} links made by snnet")
    return f"seen: {', '.join(words)}" if words else "no links seen"
