"""Which tracked connections a change of rules affects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from snnet.contract import Add, IPAddress, Noun, Operation, PortForward, PublicIp
from snnet.system.conntrack import Connection, Match


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

    Those to the target of a removed forward, and those to the port of a new one.  Other
    forwards may translate some of them the same way: see ``Forwards``.
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
            for address in noun.guest_addresses:
                yield Match(noun.protocol, address, noun.port)


class Forwards:
    """The port forwards of a host, by protocol, port and address of the host."""

    def __init__(self, nouns: Iterable[Noun]) -> None:
        self._at: dict[tuple[str, int, IPAddress], list[PortForward]] = {}
        for noun in nouns:
            if isinstance(noun, PortForward):
                for address in noun.guest_addresses:
                    at = (noun.protocol, noun.port, address)
                    self._at.setdefault(at, []).append(noun)

    def translate(self, connection: Connection) -> bool:
        """Return whether a new connection between the same ends would get the same target.

        The kernel does not record the device by which a connection arrived: forwards of
        all devices count.
        """
        protocol, port = connection.protocol_name, connection.original_port
        asked = ip_address(connection.original_destination)
        source = ip_address(connection.original_source)
        forwards = [
            rule for rule in self._at.get((protocol, port, asked), ()) if rule.admits(source)
        ]
        first = [rule for rule in forwards if rule.address] or forwards
        ways = {(rule.target, rule.target_port) for rule in first} or {(asked, port)}
        return (ip_address(connection.reply_source), connection.reply_port) in ways
