"""A concentrator with its default drivers: a new subnet, and rules while connections are tracked.

A subnet is compared with starting dnsmasq with the same files and options, a rule with a prepared
message that adds one element to a set.  All figures are processor time, that of programs included.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import snnet
from snnet.contract import DhcpScope
from snnet.contract.addresses import gateway_of
from snnet.dhcp import settings
from snnet.dhcp.account import serving_account
from snnet.firewall.nftables.reader import (
    ELEMENT,
    KEY,
    LIST_ELEMENTS,
    LIST_SET,
    LIST_TABLE,
    VALUE,
)
from snnet.system import nf_tables
from snnet.system.host import RealHost
from snnet.system.nfnetlink import NETFILTER, Nfnetlink, attribute
from snnet.system.process import run as run_process

from .fake import config
from .floor import kernel_socket, send
from .timing import Result, each, median, seconds, with_programs

ROUNDS, BURST = 9, 20
SUBNETS = (IPv4Network("10.1.0.0/24"), IPv4Network("10.1.0.0/20"))
GUEST = "10.9.0.9"

_NEW, _DELETE = nf_tables.NEW_ELEMENTS, nf_tables.DELETE_ELEMENTS
_CREATE = 0x400  # NLM_F_CREATE


def run() -> Iterator[Result]:
    """Run the benchmarks in the namespace of the process, which has an uplink in 192.0.2.0/24."""
    for words in (
        "link set lo up",
        "link add out0 type veth peer name far1",
        "address add 203.0.113.1/24 dev out0",
        "link set out0 up",
        "link set far1 up",
    ):
        run_process(["ip", *words.split()])
    with ExitStack() as stack:
        cnci = stack.enter_context(
            snnet.Cnci("cnci-bench", config(tunnel="vxlan"), tenant_id="t1", api_timeout=600)
        )
        cnci.init()
        stack.callback(cnci.shutdown)
        cnci.add_remote_subnet("10.9.0.0/24", 9, "192.0.2.12")
        yield from _subnets(cnci)
        cnci.add_port_forward(protocol="tcp", device="out0", port=1, to=GUEST)
        yield from _rules(cnci, stack.enter_context(_Element()))


def _subnets(cnci: snnet.Cnci) -> Iterator[Result]:
    alone: dict[int, list[float]] = {}
    added: dict[int, list[float]] = {}
    for _ in range(ROUNDS):
        for subnet in SUBNETS:
            alone.setdefault(subnet.prefixlen, []).append(_start(subnet))
            add = partial(cnci.add_remote_subnet, subnet, 1, "192.0.2.12")
            took = seconds(add, with_programs)
            added.setdefault(subnet.prefixlen, []).append(took)
            cnci.remove_subnet(subnet)
    for length in alone:
        start, whole = median(alone[length]), median(added[length])
        name = f"concentrator: a new /{length}"
        yield Result(f"{name}, dnsmasq alone", start * 1000, "CPU ms")
        yield Result(f"{name} / starting dnsmasq alone", whole / start, "times", 1.2)
    more = median(added[20]) - median(added[24])
    yield Result("concentrator: a /20 beyond a /24", more * 1000, "CPU ms", 5)


def _start(subnet: IPv4Network) -> float:
    """Return the seconds that dnsmasq takes to start for this network, with all its files there."""
    link, gateway = "alone0", f"{gateway_of(subnet)}/{subnet.prefixlen}"
    for words in (f"link add {link} type bridge", f"address add {gateway} dev {link}"):
        run_process(["ip", *words.split()])
    run_process(["ip", "link", "set", link, "up"])
    scope = DhcpScope(owner="cnci:bench", link=link, subnets=(subnet,), mtu=1450)
    account, folder = serving_account(), Path(tempfile.mkdtemp())
    for name, text in ((settings.HOSTS, settings.hosts(scope)), ("names", ""), ("servers", "")):
        (folder / name).write_text(text)
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, account.user or None, account.group or None)
    folder.chmod(0o777)
    try:
        argv = settings.command_line(scope, folder, account)
        took = seconds(lambda: run_process(argv), with_programs)
        _end(int((folder / settings.PID).read_text()))
    finally:
        run_process(["ip", "link", "delete", link])
        shutil.rmtree(folder)
    return took


def _end(pid: int) -> None:
    """End the process, and wait until its ports are free."""
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    select.select([pidfd], [], [])
    os.close(pidfd)


def _rules(cnci: snnet.Cnci, element: _Element) -> Iterator[Result]:
    ports, hosts = range(1000, 1000 + BURST), range(20, 20 + BURST)

    def public(host: int) -> str:
        return f"203.0.113.{host}"

    def forward(port: int) -> None:
        cnci.add_port_forward(protocol="tcp", device="out0", port=port, to=GUEST, to_port=22)

    def unforward(port: int) -> None:
        cnci.remove_port_forward(protocol="tcp", device="out0", port=port)

    def publish(host: int) -> None:
        cnci.add_public_ip(public(host), to=f"10.9.0.{host}", device="out0")

    def unpublish(host: int) -> None:
        cnci.remove_public_ip(public(host))

    calls: dict[str, tuple[Callable[[int], None], range, float]] = {
        "a port forward on": (forward, ports, 0.2),
        "a port forward off": (unforward, ports, 0.2),
        "a public address on": (publish, hosts, 0.5),
        "a public address off": (unpublish, hosts, 0.5),
    }
    took: dict[str, list[float]] = {}
    raw, first = [], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"tracked", ("127.0.0.1", 9))  # or nothing has to be searched for
        for _ in range(ROUNDS):
            raw.append(each(element.add, ports, with_programs))
            each(element.delete, ports)
            # Those were changes of others, after which the node looks at its rules once.
            first.append(seconds(partial(forward, 999), with_programs))
            unforward(999)
            for name, (call, items, _) in calls.items():
                took.setdefault(name, []).append(each(call, items, with_programs))  # type: ignore[arg-type]
    floor = median(raw)
    yield Result("concentrator: an element by a prepared message", floor * 1e6, "CPU us")
    name = "concentrator: a port forward on, after others changed rules"
    yield Result(name, median(first) * 1000, "CPU ms")
    for name, (_, _, mark) in calls.items():
        spent = median(took[name])
        yield Result(f"concentrator: {name}", spent * 1000, "CPU ms", mark)
        yield Result(f"concentrator: {name} / an element", spent / floor, "times")


class _Element:
    """Adds and deletes an element of a set of its own, by prepared messages."""

    def __enter__(self) -> _Element:
        run_process(["nft", "add table inet floor { set s { type inet_service; }; }"])
        self._kernel = kernel_socket(NETFILTER)
        with closing(RealHost(owner="cnci:bench")) as host:
            builder = Nfnetlink(host.netns.fd, nf_tables.SUBSYSTEM)
            self._prepared: dict[tuple[int, object], bytes] = {
                (kind, port): bytes(builder.batch([(kind, flags, family, _element(port))])[0])
                for port in range(1000, 1000 + BURST)
                for kind, flags in ((_NEW, _CREATE), (_DELETE, 0))
                for family in [nf_tables.FAMILIES["inet"]]
            }
        return self

    def add(self, port: object) -> None:
        send(self._kernel, self._prepared[_NEW, port])

    def delete(self, port: object) -> None:
        send(self._kernel, self._prepared[_DELETE, port])

    def __exit__(self, *_: object) -> None:
        self._kernel.close()
        run_process(["nft", "delete table inet floor"])


def _element(port: int) -> bytes:
    key = attribute(KEY, attribute(VALUE, port.to_bytes(2, "big")), nested=True)
    of = attribute(LIST_TABLE, b"floor\0") + attribute(LIST_SET, b"s\0")
    return of + attribute(LIST_ELEMENTS, attribute(ELEMENT, key, nested=True), nested=True)
