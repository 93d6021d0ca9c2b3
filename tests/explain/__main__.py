"""``python -m tests.explain [--pairs N] [--seed N]``: explain against the wire, in namespaces.

Needs root.  Prints each disagreement with its seed, and at last how many pairs ended how.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from .compare import Tally, compare
from .hosts import Host, local, routed
from .wire import Wire

KINDS = {"local": local, "routed": routed}
FIREWALLS = ("nftables", "iptables")
PAIRS = 12
"""Pairs of one set of others' rules."""


def run(kind: str, firewall: str, seed: int, turns: int, tally: Tally) -> None:
    """Ask about the pairs of so many turns on one host."""
    host: Host = KINDS[kind](firewall)
    try:
        wire = Wire(host)
        try:
            wire.wait()
            for turn in range(turns):
                compare(host, wire, seed + turn, PAIRS, tally)
        finally:
            wire.close()
    finally:
        host.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.explain", description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--firewall", choices=FIREWALLS)
    options = parser.parse_args()
    hosts = [
        (kind, firewall)
        for kind in KINDS
        for firewall in FIREWALLS
        if options.kind in (None, kind) and options.firewall in (None, firewall)
    ]
    turns = -(-options.pairs // (PAIRS * len(hosts)))
    total, started = Tally(), time.monotonic()
    for number, (kind, firewall) in enumerate(hosts):
        run(kind, firewall, options.seed + 10_000 * number, turns, total)
        print(f"{kind}, {firewall}: {total}", flush=True)
        for text in total.different:
            print(text, flush=True)
    print(f"seed {options.seed}: {total}, {time.monotonic() - started:.0f} s")
    unknown = total.outcomes.get("unknown", 0)
    return bool(total.different) or unknown * 50 > total.pairs


if __name__ == "__main__":
    sys.exit(main())
