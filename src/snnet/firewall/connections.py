"""Which tracked connections a change of rules affects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from snnet.contract import Add, Noun, Operation, PortForward, PublicIp
from snnet.system.conntrack import Connection, Match


def of_public_addresses(operations: Iterable[Operation]) -> Iterator[Match]:
    """Connections that would go on as if public addresses had not come or gone.

    Those to a public address, and those its guest has opened, which leave by another
    address from now on.
    """
    for operation in operations:
        noun = operation.noun
        if isinstance(noun, PublicIp):
            yield Match(original_destination=noun.public)
            yield Match(original_source=noun.internal)


def of_forwards(operations: Iterable[Operation]) -> Iterator[Match]:
    """Connections that may go on as if port forwards had not come or gone.

    Those that a forward leads to its target, and those to its port that began before it.
    The rules that are left may still lead some of them there: see ``Forwards``.
    """
    for operation in operations:
        noun = operation.noun
        if not isinstance(noun, PortForward):
            continue
        if not isinstance(operation, Add):
            yield Match(noun.protocol, noun.address, noun.port, reply_source=noun.target)
        elif noun.protocol != "tcp":
            # A new SYN is a new connection, whatever is known of its ends
            # (nf_conntrack_tcp_packet, net/netfilter/nf_conntrack_proto_tcp.c).
            for address in noun.guest_addresses:
                yield Match(noun.protocol, address, noun.port)


class Forwards:
    """All port forwards of a host, by the addresses of the host that packets are for."""

    def __init__(self, nouns: Iterable[Noun]) -> None:
        self._at: dict[tuple[str, int, IPv4Address], list[PortForward]] = {}
        for noun in nouns:
            if isinstance(noun, PortForward):
                for address in noun.guest_addresses:
                    at = (noun.protocol, noun.port, address)
                    self._at.setdefault(at, []).append(noun)

    def lead(self, connection: Connection) -> bool:
        """Whether a new connection between the same ends would go the same way.

        The kernel does not record by which device a connection came: a forward of any
        device counts.
        """
        protocol, port = connection.protocol_name, connection.original_port
        asked = IPv4Address(connection.original_destination)
        source = IPv4Address(connection.original_source)
        forwards = [
            rule for rule in self._at.get((protocol, port, asked), ()) if rule.admits(source)
        ]
        first = [rule for rule in forwards if rule.address] or forwards
        ways = {(rule.target, rule.target_port) for rule in first} or {(asked, port)}
        return (IPv4Address(connection.reply_source), connection.reply_port) in ways
