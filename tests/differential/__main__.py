"""``python -m tests.differential [--steps N] [--against NAME] [--jobs N] [--seed N]``

Many random operations on the fake and on the real kernel, in several processes,
each with a fresh namespace every few hundred steps.  Needs root.  The seed of a
run that differs, and all that led to it, are printed; exit code 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from .dice import Seeded
from .judge import Difference, run
from .networks import changed, draw
from .operations import KINDS, TUNNELS, Draw
from .traffic import Different, compare

STEPS = 200
"""Steps in one namespace."""


def chunk(seed: int, against: str, kinds: tuple[str, ...]) -> str | None:
    """What differs in so many steps, or None."""
    try:
        run(Draw(Seeded(seed), kinds), [against], STEPS)
    except Difference as difference:
        return f"seed {seed}:\n{difference}"
    return None


def network(seed: int) -> str | None:
    """Who reaches whom otherwise in one network, or None."""
    try:
        dice = Seeded(seed)
        drawn = draw(dice)
        compare(drawn, changed(dice, drawn))
    except Different as difference:
        return f"seed {seed}:\n{difference}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.differential", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--against", default="netlink", choices=["netlink", "iproute_shell"])
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--networks", type=int, default=0, help="traffic in so many instead")
    parser.add_argument("--all-tunnels", action="store_true", help="gre and geneve too (the VM)")
    options = parser.parse_args()
    kinds = ("bridge", "tap", "veth", "macvtap", *TUNNELS) if options.all_tunnels else KINDS
    started, differences = time.monotonic(), []
    chunks = options.networks or -(-options.steps // STEPS)
    with ProcessPoolExecutor(options.jobs) as processes:
        runs = [
            processes.submit(network, options.seed + number)
            if options.networks
            else processes.submit(chunk, options.seed + number, options.against, kinds)
            for number in range(chunks)
        ]
        for done in as_completed(runs):
            if found := done.result():
                differences.append(found)
                print(found, "\n", flush=True)
    what = f"{chunks * STEPS} steps against {options.against}"
    if options.networks:
        what = f"{options.networks} networks"
    print(
        f"{what}, seeds {options.seed} to "
        f"{options.seed + chunks - 1}, {time.monotonic() - started:.0f} s: "
        f"{len(differences)} differences"
    )
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main())
