"""What ``doctor`` derives from what it found."""

from __future__ import annotations

from typing import Any

import pytest

from snnet.doctor.checks import tunnels_of
from snnet.doctor.survey import FoundNode


@pytest.mark.parametrize(
    ("config", "tunnels"),
    [
        ({}, {"gre"}),
        ({"tunnel": "geneve"}, {"geneve"}),
        ({"topology": "hub", "tunnel": "vxlan"}, {"vxlan"}),
        ({"topology": "mesh"}, {"vxlan"}),
        ({"topology": "mesh", "tunnel": "gre"}, {"vxlan"}),
        ({"topology": "local"}, set()),
    ],
)
def test_the_modules_of_the_tunnels_that_are_made(
    config: dict[str, Any], tunnels: set[str]
) -> None:
    assert tunnels_of([FoundNode("cn:a", settings={"config": config})]) == tunnels


def test_what_is_not_known_needs_no_module() -> None:
    assert tunnels_of([FoundNode("cn:a"), FoundNode("cnci:b")]) == set()
