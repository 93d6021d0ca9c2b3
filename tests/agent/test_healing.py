"""What others change is healed by the running agent, and neighbours notice nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.sample import EVERY, turns

from .drifted import OF_A_TENANT, OF_THE_HOST, Tenant
from .lan import OUTSIDE_IP, Lan

pytestmark = pytest.mark.kernel

PATIENCE = 60.0
"""Seconds; an idle machine needs less than one."""


@contextmanager
def pinging(lan: Lan, netns: str, *targets: str) -> Iterator[None]:
    """Ping targets twenty times a second meanwhile and a while longer; none of it may be lost."""
    running = {
        target: subprocess.Popen(
            [*lan.enter(netns), "ping", "-q", "-i", "0.05", target],
            stdout=subprocess.PIPE, text=True,
        )
        for target in targets
    }  # fmt: skip
    try:
        yield
        time.sleep(2)  # a repair may take less than half a second
    finally:
        said = {}
        for target, process in running.items():
            process.send_signal(signal.SIGINT)
            said[target] = process.communicate(timeout=10)[0]
    for target, text in said.items():
        found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        assert found, text
        sent, received = map(int, found.groups())
        assert sent > 20
        assert received >= sent - 1, f"{target}: {text}"  # the last one is on its way


def test_drift_is_healed_and_neighbours_lose_nothing(lan: Lan) -> None:
    """Both tenants use the same addresses; one's objects are changed, the other one pings."""
    one, other = Tenant(lan, "one"), Tenant(lan, "other")
    source, _ = other.container("n1"), other.container("n2")
    neighbours = ("10.1.0.1", "10.1.0.4")
    for target in (*neighbours, OUTSIDE_IP):
        assert lan.reaches(source, target)
    before = one.settled()
    with pinging(lan, source, *neighbours):
        with pinging(lan, source, OUTSIDE_IP):
            for breakage in OF_A_TENANT[next(turns(0)) :: EVERY]:
                one.breaks(breakage)
                lan.until(lambda: one.state() == before, PATIENCE, lambda: differences(one, before))
        for breakage in OF_THE_HOST:
            one.breaks(breakage)
            lan.until(lambda: one.state() == before, PATIENCE, lambda: differences(one, before))
    assert lan.reaches(source, OUTSIDE_IP)
    for tenant in ("one", "other"):
        lan.snnet(f"network delete web --force --tenant {tenant}")


def differences(tenant: Tenant, before: list[str]) -> str:
    now = tenant.state()
    gone, new = sorted({*before} - {*now}), sorted({*now} - {*before})
    return "\n".join(["gone:", *gone, "new:", *new, ""])
