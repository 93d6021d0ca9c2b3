"""When the links of a real host are ready: bridges take frames, addresses can be used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from snnet.system.netns import in_netns, open_netns
from snnet.system.process import run

PATIENCE = 30.0
"""Seconds; the kernel needs one and a little."""


def wait_for_ports(*spaces: str | int) -> None:
    """Wait until each port that has a carrier takes frames.

    The bridge hears of a carrier up to a second later (linkwatch_schedule_work in
    net/core/link_watch.c, br_port_carrier_check), and drops what comes before that.
    """
    _wait_until_no_link(_drops_frames, spaces)


def wait_for_link_local(*spaces: str | int) -> None:
    """Wait until every link with a carrier has the link-local address that it gets.

    The kernel makes the address when it hears of the carrier (addrconf_notify in
    net/ipv6/addrconf.c), and for a second tries whether another host has it (RFC 4862, 5.4).
    """
    _wait_until_no_link(_has_no_link_local, spaces)


def _wait_until_no_link(
    waits: Callable[[dict[str, Any]], bool], spaces: tuple[str | int, ...]
) -> None:
    end = time.monotonic() + PATIENCE
    for space in spaces:
        fd = open_netns(space)
        try:
            while waiting := in_netns(fd, partial(_those, waits)):
                assert time.monotonic() < end, waiting
                time.sleep(0.02)
        finally:
            os.close(fd)


def _those(waits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The links of the calling thread's namespace that wait."""
    return [link for link in json.loads(run(["ip", "-j", "-d", "address"]).stdout) if waits(link)]


def _drops_frames(link: dict[str, Any]) -> bool:
    state = link.get("linkinfo", {}).get("info_slave_data", {}).get("state", "forwarding")
    return "LOWER_UP" in link["flags"] and state != "forwarding"


def _has_no_link_local(link: dict[str, Any]) -> bool:
    addresses = [one for one in link["addr_info"] if one["family"] == "inet6"]
    if any("tentative" in one for one in addresses):
        return True
    off = Path("/proc/sys/net/ipv6/conf", link["ifname"], "disable_ipv6")
    return (
        "LOWER_UP" in link["flags"]
        and link.get("inet6_addr_gen_mode") == "eui64"
        and off.read_text() == "0\n"
        and not any(one["scope"] in ("link", "host") for one in addresses)
    )
