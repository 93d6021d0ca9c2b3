"""Which parts of tables this kernel can have: found out once, by making one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from snnet.contract import Busy, Exhausted, SnnetError, Timeout

from . import groups, tables
from .needs import Need
from .tables import Part, Table


class Support:
    """Remembers what this kernel has; ``change`` carries out commands in one transaction."""

    def __init__(self, change: Callable[[Sequence[str]], object]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self.possible: set[Need] = set()
        """Parts of tables that this kernel is known to have."""
        self._impossible: dict[Need, str] = {}
        """Parts of tables that this kernel does not have, and why."""

    def missing(self, needed: frozenset[Need]) -> str | None:
        """Return why the parts cannot be used here, or None if they can."""
        with self._lock:
            for part in sorted(needed - self.possible):
                if part not in self._impossible:
                    self._try(*part)
                if part in self._impossible:
                    return self._impossible[part]
        return None

    def _try(self, family: str, name: str) -> None:
        """Find out whether a part of a table can be used, by making one and removing it."""
        part = Part(Table(family, "probe:snnet"), name)
        try:
            self._change([*tables.base(part), *groups.sample(part), f"delete table {part.table}"])
        except (Exhausted, Busy, Timeout):
            raise  # it says nothing about the kernel: the next call may succeed
        except SnnetError as error:
            self._impossible[family, name] = (
                f"this kernel lacks what nftables needs for family {family} ({error}): "
                "load nf_tables, nft_nat and their modules, run as root, "
                "or choose firewall 'iptables'"
            )
        else:
            self.possible.add((family, name))
