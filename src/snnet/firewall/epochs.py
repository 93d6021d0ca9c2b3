"""Epochs of nf_tables: between two of them, nobody but the driver changed the ruleset."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from snnet.system import nf_tables
from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import Nfnetlink


class Within(Protocol):
    """Carries out transactions as :meth:`Epochs.within` does."""

    def __call__(self, transaction: Callable[[], bool], count: int = 1) -> bool: ...


class Epochs:
    """Counts epochs in one network namespace, by the number that nf_tables gives its ruleset.

    Every transaction, whosever it is, adds one to that number (nf_tables_commit,
    net/netfilter/nf_tables_api.c).  A driver that says how many transactions it made
    itself sees from the number whether there were others.  To drivers that share one of these
    objects, the transactions of each are not foreign.
    """

    def __init__(self, netns: int) -> None:
        self._kernel = Nfnetlink(netns, nf_tables.SUBSYSTEM)
        self._lock = threading.Lock()
        self._generation: int | None = None
        self._pending = 0
        """Transactions of the driver since the number was read."""
        self._epoch = 0
        self._observed = False
        self.close = self._kernel.close

    def last(self) -> int:
        """The epoch as it was observed last."""
        return self._epoch if self._observed else self.observe()

    def expected(self) -> int | None:
        """The number that the ruleset has if nobody else changed it since it was read, if known.

        A transaction for this number alone is refused once others have made one.
        """
        with self._lock:
            return None if self._generation is None else self._generation + self._pending

    def observe(self) -> int:
        """The epoch.

        It is a new one after transactions of others, or if the kernel does not say.
        """
        with self._lock:
            before, now, own = self._generation, self._read(), self._pending
            self._generation, self._pending, self._observed = now, 0, True
            if before is None or now is None or now - before != own:
                self._epoch += 1
            return self._epoch

    def within(self, transaction: Callable[[], bool], count: int = 1) -> bool:
        """Carry out a transaction of the driver, or several, and return what it returns.

        That is True if it added exactly ``count`` to the number; else nobody knows what the
        number counts, and the next call begins an epoch.  Whoever observes meanwhile waits, and
        takes none of them for that of another.
        """
        with self._lock:
            if certain := transaction():
                self._pending += count
            else:
                self._generation = None
            return certain

    def _read(self) -> int | None:
        try:
            return nf_tables.generation(self._kernel)
        except NetlinkError:
            return None
