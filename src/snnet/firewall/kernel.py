"""What the firewall drivers of real hosts share."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
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
from snnet.system.conntrack import Conntrack, Sweep
from snnet.system.reach import Reach

from .allowed import CONCERNED, Allowed
from .connections import TRANSLATING, may_end, of_exits, of_forwards, of_public_addresses
from .others.look import stops
from .translations import SWEEPS_MAX, Translations

_log = logging.getLogger("snnet.firewall")


class KernelFirewall(Driver):
    """A firewall in the netfilter of the kernel, in the network namespace of a real host.

    After ``apply`` the kernel forgets the connections that changed rules affect, so that
    their next packets count as new connections.  ``transfer`` ends no connection.
    """

    carries: ClassVar[frozenset[type[Noun]]] = RULES

    def __init__(self, host: Host) -> None:
        self.host = host
        netns = host.netns.descriptor_for(self.name, "firewall")
        self._connections = Conntrack(netns)
        self._reach = Reach(netns)
        self._translations = Translations()

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
        try:
            outcome = super().apply(
                operations, check=check, keep_going=keep_going, into=into, first=first
            )
        except BaseException:
            self._translations.learn(None, ())
            raise
        if outcome.unsure:
            self._translations.learn(None, ())
        changed = [
            operation
            for number, operation in enumerate(operations, first)
            if isinstance(operation.noun, TRANSLATING) and number in outcome.done
        ]
        if changed:
            self._follow(changed)
        return outcome

    def transfer(self, operations: Sequence[Operation]) -> Outcome:
        """See :meth:`snnet.contract.Driver.transfer`."""
        self._translations.learn(None, ())
        return super().apply(operations, keep_going=True)

    def _follow(self, changed: Sequence[Operation]) -> None:
        """Forget the connections that the change concerns and no rule allows any more."""
        self._translations.follow(changed)
        ending = [operation for operation in changed if may_end(operation)]
        try:
            if ending and self._connections.any():
                self._forget(self._unswept(ending))
        except (OSError, SnnetError) as error:
            _log.warning("connections of changed rules continue unchanged: %s", error)

    def _unswept(self, changed: list[Operation]) -> list[Operation]:
        """Have the kernel forget by itself what it can; return the changes that are left."""
        left: list[Operation] = []
        sweeps: list[Sweep] = []
        epoch = self.epoch()
        for operation in changed:
            found = self._translations.sweeps(epoch, operation, self._reach)
            if found is None:
                left.append(operation)
            else:
                sweeps += found
        done = len(sweeps) <= SWEEPS_MAX and self._connections.sweep(sweeps)
        return left if done else changed

    def _forget(self, changed: Iterable[Operation]) -> None:
        """List the connections that the changes concern, and forget those that end."""
        local = cache(self._reach.addresses)
        concerned = [
            *of_public_addresses(changed),
            *of_forwards(changed),
            *of_exits(changed, local),
        ]
        # Few changes concern a connection: only then all rules are read.
        allowed = cache(
            lambda: Allowed(self.snapshot(CONCERNED).values(), local(), self._reach.way)
        )
        self._connections.forget(concerned, lambda one: allowed()(one))

    def stopped(self, packets: Sequence[HostPacket]) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.stopped`: nftables, and both kinds of iptables."""
        return stops(self.host.netns.fd, packets)

    def watch(self) -> Watch:
        raise Unsupported("a firewall has no link events: watch the backend instead")

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._connections.close()
        self._reach.close()
