"""Where new connections are sent instead, and on whose behalf (nf_nat_core.c)."""

from __future__ import annotations

from collections.abc import Container

from snnet.contract import (
    PROTOCOLS,
    IPAddress,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    ZoneLink,
)

from ..rulebook import Rulebook
from .conntrack import End
from .passage import Passage


def new_target(
    rules: Rulebook, passage: Passage, local: Container[IPAddress]
) -> tuple[Noun, End] | None:
    """Destination NAT: who is meant instead, and by which rule; None if nobody else.

    ``local`` are the addresses of the host.
    """
    assert passage.flow is not None
    protocol, _, (address, port) = passage.flow.original
    public = rules.first(PublicIp, address)
    if public is not None:
        return public, End(public.internal, port)
    if protocol not in PROTOCOLS:
        return None
    direct = rules.all(PortForward, passage.link, protocol, port) if address in local else ()
    inside = {link.owner for link in rules.all(ZoneLink, passage.link)}
    hairpins = rules.all(PortForward, address, protocol, port) if inside else ()
    for forward in (*direct, *(hairpin for hairpin in hairpins if hairpin.owner in inside)):
        return forward, End(forward.target, forward.target_port)
    return None


def new_source(
    rules: Rulebook, passage: Passage, out: str, own: IPAddress | None
) -> tuple[Noun, IPAddress | None] | None:
    """Source NAT: as whom it leaves by the link ``out``, and by which rule; None as it is.

    ``own`` is the host's address there.
    """
    assert passage.flow is not None
    if passage.flow.redirected:
        inside = {link.owner for link in rules.all(ZoneLink, passage.link)}
        for link in rules.all(ZoneLink, out):
            if link.owner in inside:
                return link, own  # hairpin
    public = rules.first(PublicIp, passage.packet.source, out)
    if public is not None:
        return public, public.public
    masquerade = rules.first(Masquerade, out)
    return (masquerade, own) if masquerade else None
