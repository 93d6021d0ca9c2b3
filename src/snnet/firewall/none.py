"""The firewall driver for hosts whose operator takes care of the firewall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snnet.contract import (
    RULES,
    Check,
    Driver,
    Host,
    Key,
    Noun,
    Operation,
    Outcome,
    Unsupported,
    Watch,
)


class NoFirewall(Driver):
    """Sets no rule, reads no rule, and says so.

    ``missing()`` names what to choose instead, for every noun, so that an
    engine can leave to the operator what a host can do without and refuse the
    rest before it starts.
    """

    name = "none"
    carries = RULES

    def __init__(self, host: Host) -> None:
        self.host = host

    def missing(self, noun: Noun) -> str | None:
        return "firewall 'none' sets no rules: choose firewall='nftables' or 'iptables'"

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return {}

    def find(self, noun: Noun) -> Noun | None:
        return None

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
    ) -> Outcome:
        """Every operation fails with ``Unsupported``; nothing is touched."""
        outcome = Outcome()
        for position, operation in enumerate(operations):
            outcome.errors[position] = Unsupported(
                f"cannot {operation}: {self.missing(operation.noun)}", operation=operation
            )
            if not keep_going:
                break
        return outcome

    def watch(self) -> Watch:
        raise Unsupported("firewall 'none' sees no link events: watch the backend instead")

    def close(self) -> None:
        pass
