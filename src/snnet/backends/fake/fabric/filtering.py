"""What may pass: forwarding and input, as ``snnet.contract.rules`` says."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.contract import (
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    IPAddress,
    Masquerade,
    Noun,
    Owned,
    PublicIp,
    ZoneLink,
)

from ..rulebook import Rulebook
from .passage import Passage

Refused = tuple[Noun, str]
"""The rule by which a packet is dropped, and why."""


def forward_refused(rules: Rulebook, passage: Passage, out: str) -> Refused | None:
    """Whether the packet, on its way to the link ``out``, must not pass."""
    came = passage.link
    for bridge, way in ((came, "from"), (out, "to")):
        accept = rules.first(BridgeAccept, bridge)
        if accept is not None:
            return None if came == out else (accept, f"nothing is routed {way} it")
    if passage.answers:
        return None
    # Each owner has zones of its own; what one of them drops the others do not save.
    ours = {link.owner: link for link in rules.all(ZoneLink, came)}
    theirs = {link.owner: link for link in rules.all(ZoneLink, out)}
    for owner in {**ours, **theirs}:
        refused = _zones_refuse(rules, passage, out, ours.get(owner), theirs.get(owner))
        if refused is not None:
            return refused
    return None


def input_refused(rules: Rulebook, passage: Passage) -> Refused | None:
    """Whether the packet must not reach the host itself."""
    isolation = rules.first(HostIsolation, passage.link)
    if isolation is None or passage.answers:
        return None
    return isolation, f"{passage.packet} answers nothing"


def _zones_refuse(
    rules: Rulebook, passage: Passage, out: str, ours: ZoneLink | None, theirs: ZoneLink | None
) -> Refused | None:
    """The same by the zones of one owner, for what answers nothing.

    ``ours`` and ``theirs`` say in which of them are the link it came by and ``out``.
    """
    if ours is not None:
        within = theirs is not None and theirs.zone == ours.zone
        if within or _may_leave(rules, ours, passage.packet.source, out):
            return None
        if not rules.is_outbound(ours):
            return ours, f"{passage.packet} is for {out} and answers nothing"
    if theirs is not None and not _may_enter(rules, theirs, passage):
        return theirs, f"{passage.packet} is from {passage.link} and answers nothing"
    return None


def _may_leave(rules: Rulebook, ours: ZoneLink, source: IPAddress, out: str) -> bool:
    """Whether a new connection from a zone's link may go out of another."""
    public = rules.all(PublicIp, source, out)
    exits = rules.all(ExternalForward, ours.link, out)
    masquerades = rules.all(Masquerade, out)
    return _has(public, ours.owner) or (_has(exits, ours.owner) and _has(masquerades, ours.owner))


def _may_enter(rules: Rulebook, theirs: ZoneLink, passage: Passage) -> bool:
    """Whether a new connection from no link of the owner's zones may go to one of these."""
    if passage.flow is not None and passage.flow.redirected:
        return True
    return rules.in_networks(theirs, passage.packet.source)


def _has(found: Iterable[Owned], owner: str) -> bool:
    return any(rule.owner == owner for rule in found)
