"""The firewall driver for hosts whose operator manages the firewall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from snnet.contract import RULES, Driver, Host, Key, Noun, Operation, Unsupported, Watch


class NoFirewall(Driver):
    """Sets no rules and reads no rules.

    ``missing()`` names the drivers to choose instead, for every noun.  The engine can
    leave optional rules to the operator, and refuse the rest before it starts.
    """

    name = "none"
    carries = RULES
    only_snnet_errors: ClassVar[bool] = True  # there is no system below

    def __init__(self, host: Host) -> None:
        self.host = host

    def missing(self, noun: Noun) -> str | None:
        return "firewall 'none' sets no rules: choose firewall='nftables' or 'iptables'"

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return {}

    def find(self, noun: Noun) -> Noun | None:
        return None

    def perform(self, operation: Operation) -> None:
        """Raise ``Unsupported``; nothing is changed."""
        raise Unsupported(
            f"cannot {operation}: {self.missing(operation.noun)}", operation=operation
        )

    def epoch(self) -> int:
        """Always the same: nobody can change rules that are not there."""
        return 0

    def watch(self) -> Watch:
        raise Unsupported("firewall 'none' has no link events: watch the backend instead")

    def close(self) -> None:
        pass
