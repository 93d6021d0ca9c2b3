"""What the firewall drivers of real hosts share."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from typing import ClassVar

from snnet.contract import (
    RULES,
    Check,
    Driver,
    Host,
    HostPacket,
    Noun,
    Operation,
    Outcome,
    SnnetError,
    Unsupported,
    Watch,
)
from snnet.system.conntrack import Conntrack
from snnet.system.reach import Reach

from .allowed import CONCERNED, Allowed
from .connections import TRANSLATING, of_exits, of_forwards, of_public_addresses
from .others.look import stops

_log = logging.getLogger("snnet.firewall")


class KernelFirewall(Driver):
    """A firewall in the netfilter of the kernel, in the network namespace of a real host.

    After ``apply`` the kernel forgets the connections that changed rules affect, so that
    their next packets count as new connections.  ``transfer`` ends no connection.
    """

    carries: ClassVar[frozenset[type[Noun]]] = RULES

    def __init__(self, host: Host) -> None:
        self.host = host
        self._connections = Conntrack(host.netns.descriptor_for(self.name, "firewall"))

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
        into: Outcome | None = None,
        first: int = 0,
    ) -> Outcome:
        """See :meth:`snnet.contract.Driver.apply`."""
        outcome = super().apply(
            operations, check=check, keep_going=keep_going, into=into, first=first
        )
        numbered = enumerate(operations, first)
        self._forget(operation for number, operation in numbered if number in outcome.done)
        return outcome

    def transfer(self, operations: Sequence[Operation]) -> Outcome:
        """See :meth:`snnet.contract.Driver.transfer`."""
        return super().apply(operations, keep_going=True)

    def _forget(self, changed: Iterable[Operation]) -> None:
        """Forget the connections that the change concerns and no rule allows any more."""
        changed = [operation for operation in changed if isinstance(operation.noun, TRANSLATING)]
        if not changed:
            return
        try:
            with closing(Reach(self.host.netns.fd)) as reach:
                local = cache(reach.addresses)
                concerned = [
                    *of_public_addresses(changed),
                    *of_forwards(changed),
                    *of_exits(changed, local),
                ]
                if concerned:
                    # Few changes concern a connection: only then all rules are read.
                    allowed = cache(
                        lambda: Allowed(self.snapshot(CONCERNED).values(), local(), reach.way)
                    )
                    self._connections.forget(concerned, lambda one: allowed()(one))
        except (OSError, SnnetError) as error:
            _log.warning("connections of changed rules continue unchanged: %s", error)

    def stopped(self, packets: Sequence[HostPacket]) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.stopped`: nftables, and both kinds of iptables."""
        return stops(self.host.netns.fd, packets)

    def watch(self) -> Watch:
        raise Unsupported("a firewall has no link events: watch the backend instead")

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._connections.close()
