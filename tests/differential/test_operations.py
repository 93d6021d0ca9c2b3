"""Random operations end the same way on the fake and on the real kernel."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from .dice import FRESH, Drawn, Seeded
from .judge import run
from .operations import KINDS, TUNNELS, Draw

pytestmark = pytest.mark.kernel

STEPS = 60

quick = settings(
    max_examples=8,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


@seed(20261124)
@quick
@given(st.data())
def test_drawn_by_hypothesis(data: st.DataObject) -> None:
    run(Draw(Drawn(data), KINDS), ["netlink"], STEPS)


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("drawn", [20261124, FRESH], ids=["fixed", f"fresh-{FRESH}"])
def test_netlink(drawn: int, number: int) -> None:
    run(Draw(Seeded(drawn + number), KINDS), ["netlink"], 80)


@pytest.mark.parametrize("drawn", [20261124, FRESH], ids=["fixed", f"fresh-{FRESH}"])
def test_iproute_shell(drawn: int) -> None:
    run(Draw(Seeded(drawn), KINDS), ["netlink", "iproute_shell"], 60)


@pytest.mark.needs("gretap")
@pytest.mark.needs("ip6gretap")
@pytest.mark.needs("gre")
@pytest.mark.needs("geneve")
@pytest.mark.parametrize("drawn", [20261124, FRESH], ids=["fixed", f"fresh-{FRESH}"])
def test_all_tunnels(drawn: int) -> None:
    run(Draw(Seeded(drawn), ["bridge", "tap", "veth", *TUNNELS, *TUNNELS]), ["netlink"], 80)
