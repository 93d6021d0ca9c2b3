"""Which tracked connections a change of rules affects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snnet.contract import Add, Operation, PortForward, PublicIp
from snnet.system.conntrack import Match


def concerned(operations: Iterable[Operation]) -> Iterator[Match]:
    """Yield the connections that would continue as if the rules had not changed.

    For a port forward: those to its target, and those to its port that began before it and
    go to the host itself.  For a public IP: those to it, and those that its guest has
    opened, whose source address changes.
    """
    for operation in operations:
        noun = operation.noun
        if isinstance(noun, PortForward):
            if not isinstance(operation, Add):
                yield Match(noun.protocol, original_port=noun.port, reply_source=noun.target)
            elif noun.protocol != "tcp":
                # A new SYN is a new connection, even between the same ends
                # (nf_conntrack_tcp_packet, net/netfilter/nf_conntrack_proto_tcp.c).
                for address in noun.addresses:
                    yield Match(noun.protocol, address, noun.port)
        elif isinstance(noun, PublicIp):
            yield Match(original_destination=noun.public)
            yield Match(original_source=noun.internal)
