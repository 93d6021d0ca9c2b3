"""The firewall on the real kernel: the cost of many rules, and of foreign tables.

The figures are ratios between bursts of one run: 20,000 port forwards compared with one,
and a foreign set of 50,000 elements compared with none.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network

from snnet.contract import (
    Add,
    Driver,
    Noun,
    Operation,
    PortForward,
    Remove,
    Zone,
    ZoneLink,
)
from snnet.firewall.nftables import NftablesFirewall
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace
from snnet.system.process import run as run_process

from .timing import Result, each, median, seconds

OWNER = "cnci:bench"
MANY, FOREIGN, ROUNDS, BURST = 20_000, 50_000, 9, 40
GUEST = IPv4Address("10.1.0.9")
HUB = IPv4Address("203.0.113.1")


def forwards(first: int, count: int, protocol: str = "udp") -> list[Noun]:
    return [
        PortForward(
            owner=OWNER, protocol=protocol, device="out0", port=port, target=GUEST,
            target_port=7, addresses=(HUB,),
        )
        for port in range(first, first + count)
    ]  # fmt: skip


def run() -> Iterator[Result]:
    """Run the benchmarks in new namespaces."""
    with ExitStack() as stack:
        place = stack.enter_context(Place())
        firewall = NftablesFirewall(place.host)
        stack.callback(firewall.close)
        yield from many_forwards(place, firewall)
        yield from foreign_table(place, firewall)


class Place:
    """A concentrator between an outside host and a guest."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self.hub, self.out, self.guest = (Namespace(name) for name in ("hub", "out", "guest"))
        for space in (self.hub, self.out, self.guest):
            self._open.callback(space.close)
        self.hub.ip(
            [
                f"link add out0 type veth peer name eth0 netns {self.out.path}",
                f"link add in0 type veth peer name eth0 netns {self.guest.path}",
                f"address add {HUB}/24 dev out0",
                "address add 10.1.0.1/24 dev in0",
                "link set out0 up",
                "link set in0 up",
            ]
        )
        for space, address, gateway in (
            (self.out, "203.0.113.9/24", HUB),
            (self.guest, f"{GUEST}/24", "10.1.0.1"),
        ):
            space.ip(
                [
                    "link set eth0 up",
                    f"address add {address} dev eth0",
                    f"route add default via {gateway}",
                ]
            )
        run_process(["sysctl", "-qw", "net.ipv4.ip_forward=1"], netns=self.hub.fd)
        self.host = RealHost(self.hub.fd, owner=OWNER)
        self._open.callback(self.host.close)

    def zone(self) -> list[Noun]:
        network = IPv4Network("10.1.0.0/24")
        return [
            Zone(owner=OWNER, zone="t1"),
            ZoneLink(owner=OWNER, link="in0", zone="t1", networks=(network,)),
        ]

    def flows(self, port: int, count: int = 400) -> float:
        """Return the seconds that a new flow through a port forward takes, there and back."""

        def udp() -> socket.socket:
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        with self.guest.call(udp) as server, ExitStack() as clients:
            server.bind(("", 7))
            server.settimeout(5)
            sockets = [clients.enter_context(self.out.call(udp)) for _ in range(count)]

            def visit(item: object) -> None:
                assert isinstance(item, socket.socket)
                item.sendto(b"ping", (str(HUB), port))
                server.sendto(*server.recvfrom(16))
                item.recv(16)

            visit(sockets[0])
            return each(visit, sockets[1:])

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def carry_out(firewall: Driver, operations: Sequence[Operation]) -> None:
    error = firewall.apply(operations).error
    if error is not None:
        raise error


def one_more(firewall: Driver, rules: Sequence[Noun]) -> float:
    """Return the seconds to add one rule, over a burst that is removed afterwards."""
    took = each(lambda rule: carry_out(firewall, [Add(rule)]), rules)  # type: ignore[arg-type]
    carry_out(firewall, [Remove(rule) for rule in rules])
    return took


def many_forwards(place: Place, firewall: Driver) -> Iterator[Result]:
    carry_out(firewall, [Add(noun) for noun in (*place.zone(), *forwards(1, 1))])
    path = median([place.flows(1) for _ in range(ROUNDS)])
    # From here on, connections are tracked: after removing a rule, and after adding one for
    # UDP, the kernel searches its whole table of connections, whatever is in it.
    burst = forwards(60_000, BURST, "tcp")
    one_more(firewall, burst)
    first = median([one_more(firewall, burst) for _ in range(ROUNDS)])
    yield Result("nftables: one port forward more, the first ones", first * 1e6, "us")
    yield Result("nftables: a new flow by the only port forward", path * 1e6, "us")
    bulk = seconds(lambda: carry_out(firewall, [Add(rule) for rule in forwards(2, MANY - 1)]))
    yield Result("nftables: 20,000 port forwards at once", bulk, "s", 5)
    later = median([one_more(firewall, burst) for _ in range(ROUNDS)])
    yield Result("nftables: one more, with 20,000 / with one", later / first, "times", 1.5)
    udp = one_more(firewall, forwards(60_000, BURST))
    yield Result("nftables: one more for udp, with 20,000", udp * 1e3, "ms")
    long = median([place.flows(MANY) for _ in range(ROUNDS)])
    yield Result("nftables: a new flow, with 20,000 / with one", long / path, "times", 1.5)
    read = seconds(lambda: firewall.snapshot())
    yield Result("nftables: reading 20,000 back", read, "s")
    gone = seconds(lambda: carry_out(firewall, [Remove(rule) for rule in forwards(2, MANY - 1)]))
    yield Result("nftables: removing 20,000", gone, "s", 5)


def foreign_table(place: Place, firewall: Driver) -> Iterator[Result]:
    burst = forwards(60_000, BURST, "tcp")
    before = median([one_more(firewall, burst) for _ in range(ROUNDS)])
    elements = ", ".join(str(IPv4Address(0x0B000000 + number)) for number in range(FOREIGN))
    script = [
        "add table ip foreign",
        "add set ip foreign s { type ipv4_addr; }",
        f"add element ip foreign s {{ {elements} }}",
    ]
    run_process(["nft", "-f", "-"], input="\n".join(script) + "\n", netns=place.hub.fd)
    after = median([one_more(firewall, burst) for _ in range(ROUNDS)])
    yield Result("nftables: one more, beside 50,000 foreign / alone", after / before, "times", 1.5)
    yield Result(
        "nftables: obstacles beside 50,000 foreign", seconds(firewall.obstacles) * 1e3, "ms"
    )
