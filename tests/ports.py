"""When the bridges of a real host take frames from their ports."""

from __future__ import annotations

import json
import time
from typing import Any

from snnet.system.process import run

PATIENCE = 30.0
"""Seconds; the kernel needs one and a little."""


def wait_for_ports(netns: str) -> None:
    """Wait until each port that has a carrier takes frames.

    The bridge hears of a carrier up to a second later (linkwatch_schedule_work in
    net/core/link_watch.c, br_port_carrier_check), and drops what comes before that.
    """
    end = time.monotonic() + PATIENCE
    while waiting := [link for link in _links(netns) if _waits(link)]:
        assert time.monotonic() < end, waiting
        time.sleep(0.02)


def _links(netns: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(["ip", "-n", netns, "-j", "-d", "link"]).stdout)
    return found


def _waits(link: dict[str, Any]) -> bool:
    state = link.get("linkinfo", {}).get("info_slave_data", {}).get("state", "forwarding")
    return "LOWER_UP" in link["flags"] and state != "forwarding"
