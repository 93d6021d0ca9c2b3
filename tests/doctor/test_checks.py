"""What ``doctor`` derives from what it found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import Conflict
from snnet.doctor.checks import _nodes, of_disk, tunnels_of
from snnet.doctor.survey import NOTE_AGAIN, FoundNode, differences, opened

DISK = (
    "f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail",
    "f_flag", "f_namemax",
)  # fmt: skip
"""The fields of ``os.statvfs_result``, in their order."""


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


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"f_flag": os.ST_RDONLY}, [("/proc is read-only", "mount -o remount,rw /proc")]),
        ({"f_bavail": 7}, [("is full (28 KiB left)", "df -h /proc")]),
        ({"f_favail": 0}, [("is full (no more files)", "df -i /proc")]),
        ({"f_favail": 0, "f_files": 0}, []),
    ],
    ids=str,
)
def test_a_disk_that_takes_no_more(change: dict[str, int], found: list[tuple[str, str]]) -> None:
    names = [
        "bsize",
        "frsize",
        "blocks",
        "bfree",
        "bavail",
        "files",
        "ffree",
        "favail",
        "flag",
        "namemax",
    ]
    size = dict.fromkeys((f"f_{name}" for name in names), 4096) | {"f_flag": 0} | change
    said = list(of_disk(Path("/proc"), os.statvfs_result([size[f"f_{name}"] for name in names])))
    assert len(said) == len(found)
    for finding, (what, fix) in zip(said, found, strict=True):
        assert what in finding.what
        assert fix in finding.fix


@pytest.mark.parametrize("owner", ["cn:a", "cnci:a"])
def test_a_node_whose_settings_are_lost_is_not_compared_with_the_defaults(owner: str) -> None:
    """By them a host of topology "local" would have no concentrator: a repair removed it."""
    node, why = FoundNode(owner), "its settings are not known"
    (line,) = differences(node)
    assert line.startswith(why)
    (finding,) = _nodes([node])
    assert (finding.what.startswith(f"{owner}: {why}"), finding.fix) == (True, NOTE_AGAIN)
    with pytest.raises(Conflict, match=why), opened(node, read_only=False):
        pass


def test_what_is_not_known_needs_no_module() -> None:
    assert tunnels_of([FoundNode("cn:a"), FoundNode("cnci:b")]) == set()
