"""Which tracked connections a change of rules concerns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snnet.contract import Add, Operation, PortForward, PublicIp
from snnet.system.conntrack import Match


def concerned(operations: Iterable[Operation]) -> Iterator[Match]:
    """Connections that would go on as if the rules had not come or gone.

    Of a port forward those it leads to its target, and those to its port that began
    before it and go to the host itself; of a public address those to it, and those
    its guest has opened, which leave by another address from now on.
    """
    for operation in operations:
        noun = operation.noun
        if isinstance(noun, PortForward):
            if not isinstance(operation, Add):
                yield Match(noun.protocol, original_port=noun.port, reply_source=noun.target)
            elif noun.protocol != "tcp":
                # A new SYN is a new connection, whatever is known of its ends
                # (nf_conntrack_tcp_packet, net/netfilter/nf_conntrack_proto_tcp.c).
                for address in noun.addresses:
                    yield Match(noun.protocol, address, noun.port)
        elif isinstance(noun, PublicIp):
            yield Match(original_destination=noun.public)
            yield Match(original_source=noun.internal)
