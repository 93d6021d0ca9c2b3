"""Docker's chain for the rules of others (DOCKER-USER), which comes before its own drops.

See "Packet filtering and firewalls" in Docker's manual.  Docker creates the chain and keeps
what is in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from snnet.contract import LinkAccepts

from .process import find_program, run

CHAIN = "DOCKER-USER"

_FRESH = 0.1
"""Seconds for which what was read is used again: a plan asks once for each link."""

_RULE = re.compile(rf"-A {CHAIN}(?: -i (\S+))?(?: -o (\S+))? -j (\S+)")


class DockerUser(LinkAccepts):
    """The rules for whole links in the chain of one network namespace.

    ``targets`` has, for iptables "nft" or "legacy", the chain that decides in place of ACCEPT.
    """

    def __init__(self, netns: int, targets: Mapping[str, str]) -> None:
        self._netns = netns
        self.targets = targets
        self._seen: tuple[float, list[tuple[str, bool]] | None] = (float("-inf"), None)

    def accepted(self) -> list[tuple[str, bool]] | None:
        """Return the links that are let through, and whether as bridges; None without a chain."""
        since, found = self._seen
        if time.monotonic() - since > _FRESH:
            found = self._read()
            self._seen = (time.monotonic(), found)
        return found

    def _read(self) -> list[tuple[str, bool]] | None:
        found: list[tuple[str, bool]] | None = None
        for variant in ("nft", "legacy"):
            lines = self._lines(variant)
            if lines is not None:
                mine = self._mine(lines, self._target(variant))
                # Where both have the chain, a link must be let through by both.
                found = mine if found is None else [one for one in mine if one in found]
        return found

    def add(self, link: str, *, bridged: bool) -> None:
        """Let what comes by the link, and what goes to it, through; between ports if bridged."""
        self._change("-I", link, bridged=bridged)

    def remove(self, link: str, *, bridged: bool) -> None:
        """Take the rules back; those that are gone are not an error."""
        self._change("-D", link, bridged=bridged)

    def _change(self, verb: str, link: str, *, bridged: bool) -> None:
        self._seen = (float("-inf"), None)
        for variant in ("nft", "legacy"):
            lines = self._lines(variant)
            for words in _matches(link, bridged=bridged) if lines is not None else ():
                rule = [*words, "-j", self._target(variant)]
                there = " ".join(["-A", CHAIN, *rule]) in (lines or ())
                if there == (verb == "-D"):
                    run([f"iptables-{variant}", "-w", verb, CHAIN, *rule], netns=self._netns)

    def _lines(self, variant: str) -> list[str] | None:
        """Return the rules of the chain, None if this iptables has no such chain."""
        program = f"iptables-{variant}"
        if find_program(program) is None or not self._is_used(variant):
            return None
        done = run([program, "-w", "-S", CHAIN], netns=self._netns, check=False)
        return done.stdout.splitlines() if done.returncode == 0 else None

    def _is_used(self, variant: str) -> bool:
        """Whether a look does no harm: that of legacy iptables would create its tables."""
        if variant == "nft":
            return True
        from .netns import in_netns

        try:
            with_tables = in_netns(self._netns, _legacy_tables)
        except OSError:
            return False
        return "filter" in with_tables

    def _target(self, variant: str) -> str:
        return self.targets.get(variant, "ACCEPT")

    @staticmethod
    def _mine(lines: list[str], target: str) -> list[tuple[str, bool]]:
        incoming, outgoing, both = set(), set(), set()
        for line in lines:
            match = _RULE.fullmatch(line)
            if match is None or match[3] != target:
                continue
            if match[1] and match[1] == match[2]:
                both.add(match[1])
            elif match[1] and not match[2]:
                incoming.add(match[1])
            elif match[2] and not match[1]:
                outgoing.add(match[2])
        routed = [(link, False) for link in sorted(incoming & outgoing)]
        return [*routed, *((link, True) for link in sorted(both))]


def _legacy_tables() -> list[str]:
    with open("/proc/thread-self/net/ip_tables_names") as file:
        return file.read().split()


def _matches(link: str, *, bridged: bool) -> list[list[str]]:
    return [["-i", link, "-o", link]] if bridged else [["-i", link], ["-o", link]]
