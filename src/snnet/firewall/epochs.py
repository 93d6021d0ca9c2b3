"""Epochs of nf_tables: between two of them, nobody but the driver changed the ruleset."""

from __future__ import annotations

import threading

from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import Nfnetlink, attributes

_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_GET_GENERATION = 16  # NFT_MSG_GETGEN, linux/netfilter/nf_tables.h
_GENERATION_ID = 1


class Epochs:
    """Counts epochs in one network namespace, by the number that nf_tables gives its ruleset.

    Every transaction, whosever it is, adds one to that number (nf_tables_commit,
    net/netfilter/nf_tables_api.c).  A driver that says how many transactions it made
    itself sees from the number whether there were others.
    """

    def __init__(self, netns: int) -> None:
        self._kernel = Nfnetlink(netns, _NFTABLES)
        self._lock = threading.Lock()
        self._generation: int | None = None
        self._epoch = 0
        self.close = self._kernel.close

    def observe(self, own: int = 0) -> int:
        """The epoch, after at most ``own`` transactions of the driver since the last call.

        It is a new one if there were more, or if the kernel does not say.
        """
        with self._lock:
            before, now = self._generation, self._read()
            self._generation = now
            if before is None or now is None or not 0 <= now - before <= own:
                self._epoch += 1
            return self._epoch

    def _read(self) -> int | None:
        try:
            answers = self._kernel.ask(_GET_GENERATION, b"", family=0)
        except NetlinkError:
            return None
        raw = dict(attributes(b"".join(answers))).get(_GENERATION_ID)
        return None if raw is None else int.from_bytes(raw, "big")
