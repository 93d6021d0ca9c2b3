"""The engine on the fake kernel: everything except the work of a real kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import snnet

from .timing import Result, each, median, seconds

ROUNDS, SUBNETS, PER_SUBNET = 7, 8, 125


def config(**changes: Any) -> snnet.NetworkConfig:
    return snnet.NetworkConfig(compute_nets=["192.0.2.0/24"], **changes)


def vnics() -> list[snnet.VnicConfig]:
    """Return a thousand taps on eight subnets."""
    return [
        snnet.VnicConfig(
            vnic_id=f"v{number}",
            instance_id=f"i{number}",
            tenant_id="t1",
            subnet_id=f"s{subnet}",
            concentrator_id="cnci-1",
            concentrator_ip="192.0.2.250",
            subnet=f"10.{subnet}.0.0/24",
            subnet_key=subnet,
            ip=f"10.{subnet}.0.{number}",
        )
        for subnet in range(1, SUBNETS + 1)
        for number in range(2, PER_SUBNET + 2)
    ]


def run() -> Iterator[Result]:
    kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    configs = vnics()
    with snnet.ComputeNode("cn-1", config(), backend=kernel, firewall="fake") as node:
        node.init()
        creates, destroys, rebuilds = [], [], []
        for _ in range(ROUNDS):
            creates.append(1 / each(node.create_vnic, configs))  # type: ignore[arg-type]
            rebuilds.append(seconds(node.rebuild_topology))
            destroys.append(1 / each(node.destroy_vnic, configs))  # type: ignore[arg-type]
        shares = list(zip(*(in_yardsticks(node, configs) for _ in range(ROUNDS)), strict=True))
    create, destroy, unit = map(min, shares)
    yield Result("fake: create_vnic of a tap", median(creates), "per s", 10_000, True)
    yield Result("fake: destroy_vnic", median(destroys), "per s")
    yield Result("fake: create_vnic / yardstick, processor time", create / unit, "times", 2.0)
    yield Result("fake: destroy_vnic / yardstick, processor time", destroy / unit, "times", 1.2)
    yield Result("fake: rebuild of 1,000 VNICs", median(rebuilds) * 1000, "ms")


def in_yardsticks(
    node: snnet.ComputeNode, configs: list[snnet.VnicConfig]
) -> tuple[float, float, float]:
    """Return the seconds for a create, a destroy, and work of Python's alone, by processor time.

    Their ratios are the same on a busy machine and on another one, more or less.
    """
    clock = time.process_time
    return (
        each(node.create_vnic, configs, clock),  # type: ignore[arg-type]
        each(node.destroy_vnic, configs, clock),  # type: ignore[arg-type]
        each(yardstick, range(100), clock),
    )


def yardstick(_: object) -> dict[int, tuple[int, str]]:
    """Make a thousand strings, tuples and entries of a dictionary."""
    return {number: (number, str(number)) for number in range(1000)}
