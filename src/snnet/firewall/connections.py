"""Which tracked connections a change of rules affects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from snnet.contract import (
    Add,
    ExternalForward,
    IPAddress,
    Masquerade,
    Operation,
    PortForward,
    PublicIp,
    Remove,
)
from snnet.system.conntrack import Match

TRANSLATING = (PublicIp, PortForward, ExternalForward, Masquerade)
"""The rules that may concern a connection."""


def may_end(operation: Operation) -> bool:
    """Whether connections may end with the change: with most new rules none does."""
    match operation:
        case Add(noun=PortForward(protocol="tcp") | Masquerade() | ExternalForward()):
            return False
    return isinstance(operation.noun, TRANSLATING)


def of_public_addresses(operations: Iterable[Operation]) -> Iterator[Match]:
    """Yield the connections that would continue as if public IPs had not changed.

    Those to a public IP, and those that its guest has opened, whose source address changes.
    """
    for operation in operations:
        noun = operation.noun
        if isinstance(noun, PublicIp):
            yield Match(original_destination=noun.public)
            yield Match(original_source=noun.internal)


def of_forwards(operations: Iterable[Operation]) -> Iterator[Match]:
    """Yield the connections that may continue as if port forwards had not changed.

    Those to the target of a removed forward, and those to the port of a new one.  Present
    rules may translate some of them the same way: see ``Allowed``.
    """
    for operation in operations:
        noun = operation.noun
        if not isinstance(noun, PortForward):
            continue
        if not isinstance(operation, Add):
            yield Match(noun.protocol, noun.address, noun.port, reply_source=noun.target)
        elif noun.protocol != "tcp":
            # A new SYN is a new connection, even between the same ends
            # (nf_conntrack_tcp_packet, net/netfilter/nf_conntrack_proto_tcp.c).
            yield Match(noun.protocol, noun.address, noun.port)


def of_exits(
    operations: Iterable[Operation], local: Callable[[], Mapping[IPAddress, set[str]]]
) -> Iterator[Match]:
    """Yield the connections that were given an address of a device that fewer may leave by.

    ``local`` returns the host's addresses with the links that have them.
    """
    devices = {
        operation.noun.device
        for operation in operations
        if isinstance(operation, Remove)
        and isinstance(operation.noun, (ExternalForward, Masquerade))
    }
    if devices:
        for address, links in local().items():
            if devices.isdisjoint(links):
                continue
            # IPv6 may have left untranslated, which only its way out tells.
            yield Match(reply_destination=address) if address.version == 4 else Match()
