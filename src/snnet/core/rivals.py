"""Rules of several nodes on one host that are for the same packets.

Each node has rules of its own, and which of two nodes' rules is asked first is an accident.
Within one node a public address, or a forward of one address, goes before a forward of any.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from snnet.contract import IPAddress, Owned, PortForward, PublicIp


def contenders(rule: PortForward | PublicIp, addresses: Collection[IPAddress]) -> Iterator[Owned]:
    """Yield the rules that are for the same packets, if another node has them.

    ``addresses`` are those of the rule's device.  Forwards that contend with a public address
    are too many to name: see :func:`contend`.
    """
    yield rule
    if isinstance(rule, PublicIp):
        return
    if rule.address is not None:
        yield replace(rule, address=None)
    for address in addresses if rule.address is None else (rule.address,):
        if address.version == rule.target.version:
            yield replace(rule, address=address)
            yield PublicIp(public=address, internal=address, device=rule.device)


def contend(forward: PortForward, public: PublicIp) -> bool:
    """Whether a forward is for packets to the public address."""
    return (
        forward.device == public.device
        and forward.target.version == public.public.version
        and forward.address in (None, public.public)
    )
