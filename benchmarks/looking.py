"""``snnet host show`` and ``snnet explain`` on a host with many VNICs."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator

import snnet

from .fake import config
from .timing import Result, median

COUNT, ROUNDS, NETWORKS = 5000, 5, 100


def run() -> Iterator[Result]:
    """Run it in the namespace of the process, which has an uplink in 192.0.2.0/24."""
    with snnet.ComputeNode("cn-1", config(tunnel="vxlan"), api_timeout=600) as node:
        node.init()
        for result in node.create_vnics([_vnic(number) for number in range(COUNT)]):
            if result.error:
                raise result.error
        shown = median([_cpu(_show) for _ in range(ROUNDS)])
        explained = median([_cpu(_explain) for _ in range(ROUNDS)])
        node.reset_network()
    yield Result(f"host: show of {COUNT:,} VNICs", shown, "CPU s", 1.0)
    yield Result(f"host: explain among {COUNT:,} VNICs", explained, "CPU s", 2.0)


def _cpu(work: Callable[[], None]) -> float:
    """Processor seconds of the commands that it runs; others' work on the machine adds none."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _vnic(number: int) -> snnet.VnicConfig:
    place, network = divmod(number, NETWORKS)
    return snnet.VnicConfig(
        tenant_id=f"t{network // 2}", subnet_id=f"s{network}", vnic_id=f"v{number}",
        instance_id=f"i{number}", concentrator_id="c1", concentrator_ip="192.0.2.10",
        subnet=f"10.{network}.0.0/16", subnet_key=network + 1, ip=f"10.{network}.1.{place + 2}",
    )  # fmt: skip


def _show() -> None:
    command = [sys.executable, "-m", "snnet", "host", "show"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    if done.stdout.count(b"vnic_id=") != COUNT:
        raise RuntimeError("not all VNICs are shown")


def _explain() -> None:
    command = [sys.executable, "-m", "snnet", "explain", "v0", f"v{NETWORKS}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    if b"reached: " not in done.stdout:
        raise RuntimeError("one guest does not reach another of its network")
