"""``explain`` and the wire, on random pairs of real hosts with random rules of others.

``python -m tests.explain`` asks about thousands.
"""

from __future__ import annotations

import pytest

from snnet.explain.question import UNKNOWN
from tests.differential.dice import FRESH
from tests.sample import EVERY, sampled

from .__main__ import FIREWALLS, KINDS, PAIRS
from .compare import Tally, compare
from .wire import Wire

pytestmark = pytest.mark.kernel

TURNS = 3 if EVERY == 1 else 1
HOSTS = [(kind, firewall) for kind in sorted(KINDS) for firewall in FIREWALLS]


@pytest.mark.parametrize("drawn", [FRESH % 2**31], ids=[f"fresh-{FRESH % 2**31}"])
@pytest.mark.parametrize(("kind", "firewall"), sampled(HOSTS))
def test_what_is_said_is_what_happens(kind: str, firewall: str, drawn: int) -> None:
    tally = Tally()
    host = KINDS[kind](firewall)
    try:
        wire = Wire(host)
        try:
            wire.wait()
            for turn in range(TURNS):
                compare(host, wire, drawn + turn, PAIRS, tally)
        finally:
            wire.close()
    finally:
        host.close()
    assert not tally.different, "\n".join(tally.different)
    assert tally.pairs == TURNS * PAIRS
    # That few are unknown is measured on thousands: here one rule may be about all of them.
    assert tally.outcomes.get(UNKNOWN, 0) < tally.pairs
