"""Random networks: the fabric says who reaches whom, and the kernel shows it.

Then the policies of their VNICs change: who is checked, extra addresses, groups and rules.
"""

from __future__ import annotations

import pytest

from .dice import FRESH, Seeded
from .networks import changed, draw
from .traffic import compare

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("drawn", [20261124, FRESH], ids=["fixed", f"fresh-{FRESH}"])
def test_who_reaches_whom(drawn: int, number: int) -> None:
    dice = Seeded(drawn + number)
    network = draw(dice)
    compare(network, changed(dice, network))
