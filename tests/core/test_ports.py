"""Ports and ranges of ports."""

from __future__ import annotations

from decimal import Decimal

import pytest

from snnet import InvalidRequest
from snnet.core.ports import check_ports


@pytest.mark.parametrize(
    ("value", "ports"),
    [(1, range(1, 2)), ("65535", range(65535, 65536)), ("8000-8010", range(8000, 8011))],
)
def test_a_port_or_a_range(value: int | str, ports: range) -> None:
    assert check_ports(value, "port") == ports


@pytest.mark.parametrize(
    "value",
    [0, 65536, -1, True, 80.0, Decimal("80.5"), None, "", "-", "80-", "-80", "90-80", "80-90-95",
     " 80", "+80", "8_0", "٨٠", "0", "000080", range(80, 90)],
)  # fmt: skip
def test_what_is_neither(value: object) -> None:
    """Python's own reading of numbers would take more for one than whoever wrote it."""
    with pytest.raises(InvalidRequest, match="is not a port from 1 to 65535, nor a range"):
        check_ports(value, "port")
