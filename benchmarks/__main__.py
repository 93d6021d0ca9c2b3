"""``python -m benchmarks [--json] [--check] [--smoke]`` runs all benchmarks that can run here."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import chain

from . import cli, docker, fabric, fake, registry
from .timing import Result

SLACK = 3
"""How many times over a smoke run may miss a target."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument(
        "--smoke",
        action="store_true",
        help=f"creates alone, in few rounds; exit with 1 if one takes {SLACK} times its target",
    )
    options = parser.parse_args()
    results: list[Result] = []

    def show(result: Result) -> None:
        results.append(result)
        if not options.json:
            print(result, flush=True)

    if options.smoke:
        return smoke(show)
    for result in chain(fake.run(), fabric.run(), registry.run(), docker.run(), cli.run()):
        show(result)
    if os.geteuid() == 0:
        from . import (
            agent,
            concentrator,
            default,
            drops,
            firewall,
            forwarding,
            groups,
            iptables,
            kernel,
            looking,
            peers,
        )

        enter_namespace()
        real = (
            kernel, peers, default, concentrator, looking, drops, forwarding, firewall, iptables,
            groups, agent,
        )  # fmt: skip
        for result in chain.from_iterable(one.run() for one in real):
            show(result)
    elif not options.json:
        print("netlink: skipped, because it needs root")
    if options.json:
        where = {"python": platform.python_version(), "kernel": platform.release()}
        print(json.dumps({**where, "results": [asdict(result) for result in results]}, indent=2))
    missed = any(result.met is False for result in results)
    return int(options.check and missed)


def smoke(show: Callable[[Result], None]) -> int:
    """Run what creates VNICs; only ratios of processor time can be too bad."""
    results = [*fake.run()]
    if os.geteuid() == 0:
        from . import kernel, peers

        enter_namespace()
        kernel.make_uplink()
        results += peers.run(rounds=2, many=100, by_clock=False)
    for result in results:
        show(result)
    ratios = [(one.value, one.target) for one in results if one.unit == "times"]
    return int(any(value > SLACK * target for value, target in ratios if target is not None))


def enter_namespace() -> None:
    """Move this process to a new network namespace."""
    import ctypes

    clone_newnet = 0x40000000  # linux/sched.h
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


if __name__ == "__main__":
    sys.exit(main())
