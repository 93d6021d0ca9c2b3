"""The firewall driver ``iptables``: programs that a call starts, and its time.

The yardstick is one run of ``iptables-restore`` that adds one rule.  Compared is processor time,
that of programs included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import snnet
from snnet.firewall.iptables.programs import Programs
from snnet.system.namespaces import Namespace
from snnet.system.process import Completed
from snnet.system.process import run as run_process

from .fake import config, vnics
from .timing import Result, median, seconds, with_programs

ROUNDS = 15
GUEST = "10.1.0.9"
PUBLIC = "192.0.2.77"

Calls = dict[str, Callable[[], object]]

TARGETS = {
    "next VNIC": 7.3,
    "first VNIC": 13.6,
    "port on": 3.6,
    "port off": 3.6,
}
"""The marks in runs of ``iptables-restore``."""


def run() -> Iterator[Result]:
    """Run the benchmarks in the namespace of the process, which has an uplink in 192.0.2.0/24."""
    with ExitStack() as stack:
        elsewhere = Namespace("elsewhere")
        stack.callback(elsewhere.close)
        meter = Meter(elsewhere)
        stack.callback(meter.close)
        yield from _run(meter)


def _run(meter: Meter) -> Iterator[Result]:
    with snnet.ComputeNode("cn-1", config(tunnel="vxlan"), firewall="iptables") as node:
        node.init()
        yield from measured(of_a_compute_node(node), meter)
        node.reset_network()
    with ExitStack() as stack:
        hub = stack.enter_context(
            snnet.Cnci("cnci-1", config(tunnel="vxlan"), tenant_id="t1", firewall="iptables")
        )
        hub.init()
        stack.callback(hub.shutdown)
        yield from measured(of_a_concentrator(hub), meter)


def of_a_compute_node(node: snnet.ComputeNode) -> Calls:
    keeper, other, *_ = vnics()
    first = vnics()[-1]
    node.create_vnic(keeper)
    return {
        "next VNIC": lambda: node.create_vnic(other),
        "one VNIC destroyed": lambda: node.destroy_vnic(other),
        "first VNIC": lambda: node.create_vnic(first),
        "last VNIC destroyed": lambda: node.destroy_vnic(first),
    }


def of_a_concentrator(hub: snnet.Cnci) -> Calls:
    bridge = hub.add_remote_subnet("10.1.0.0/24", 1, "192.0.2.12")
    hub.enable_nat(["eth0"])
    hub.allow_external("eth0", bridge)
    # As with many: the first forward and the first address of a host also add jumps.
    hub.add_port_forward(protocol="udp", device="eth0", port=53, to=GUEST)
    hub.add_public_ip("192.0.2.78", to="10.1.0.8", device="eth0")
    return {
        "port on": lambda: hub.add_port_forward(protocol="tcp", device="eth0", port=80, to=GUEST),
        "port off": lambda: hub.remove_port_forward(protocol="tcp", device="eth0", port=80),
        "public IP on": lambda: hub.add_public_ip(PUBLIC, to=GUEST, device="eth0"),
        "public IP off": lambda: hub.remove_public_ip(PUBLIC),
    }


def measured(calls: Calls, meter: Meter) -> Iterator[Result]:
    """Make the calls in turn, each after a run of the yardstick."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    counts = dict.fromkeys(calls, 0)
    base: list[float] = []
    for _ in range(ROUNDS):
        for name, call in calls.items():
            base.append(seconds(meter.one_restore, with_programs))
            meter.started = 0
            times[name].append(seconds(call, with_programs))
            counts[name] = meter.started
    unit = median(base)
    yield Result("iptables: one iptables-restore", unit * 1000, "CPU ms")
    for name in calls:
        yield Result(f"iptables: programs for {name}", counts[name], "")
        share = median(times[name]) / unit
        yield Result(f"iptables: {name} / iptables-restore", share, "times", TARGETS.get(name))


class Meter:
    """Counts the programs that drivers start, and starts one itself, where it disturbs none."""

    def __init__(self, elsewhere: Namespace) -> None:
        self._elsewhere = elsewhere
        self.started = 0
        real = self._real = Programs._run

        def counted(programs: Programs, argv: list[str], **options: Any) -> Completed:
            self.started += 1
            return real(programs, argv, **options)

        Programs._run = counted  # type: ignore[method-assign]

    def close(self) -> None:
        Programs._run = self._real  # type: ignore[method-assign]

    def one_restore(self) -> None:
        text = "*filter\n:bench - [0:0]\n-A bench -s 192.0.2.1 -j DROP\nCOMMIT\n"
        run_process(["iptables-restore", "--noflush"], input=text, netns=self._elsewhere.fd)
