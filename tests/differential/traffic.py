"""Who reaches whom: on the fabric, and in namespaces with real pings and connections."""

from __future__ import annotations

import os
import re
import selectors
import socket
import struct
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.backends.fake import Guest as FakeGuest
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    RULES,
    Address,
    Change,
    Driver,
    IPAddress,
    Masquerade,
    Operation,
    PublicIp,
    Sysctl,
    Veth,
    ZoneLink,
)
from snnet.contract.network import FORWARDING
from snnet.core.planner import plan
from snnet.firewall.nftables import NftablesFirewall
from snnet.lab.lab import Answer
from snnet.lab.probes import Servers, echo_request, icmp6_socket, icmp_socket
from snnet.lab.scenario import Connection
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace
from tests.backends.fake.steps import add, do, link
from tests.backends.fake.topology import Vnic

from .networks import FORWARDED, OUTSIDE, OUTSIDE6, PORT, WIRE, WIRE6, Guest, Network

Ping = tuple[str, IPAddress]
Call = tuple[str, IPAddress, int]

SYSCTLS = {
    "net.bridge.bridge-nf-call-iptables": "0",
    "net.bridge.bridge-nf-call-ip6tables": "0",
}
"""As a concentrator sets it: what br_netfilter bridges instead of routing, the fake does not."""


_ECHO6_REPLY = 129
_AT_ONCE = {"accept_dad": "0", "accept_redirects": "0"}
"""No duplicate address detection, which takes a second; and no detours that the hosts show."""


def _hurry() -> None:
    for which in ("all", "default"):
        for name, value in _AT_ONCE.items():
            Path(f"/proc/sys/net/ipv6/conf/{which}/{name}").write_text(value)


class Different(AssertionError):
    """The fabric and the kernel are not of one mind about who reaches whom."""


def compare(network: Network, *later: Network) -> None:
    """``Different`` tells the network and every way that ends otherwise.

    ``later`` are the networks that it becomes by changes of rules.
    """
    fake = Fake(network)
    with Real(network) as real:
        _compare(fake, real, [str(network)])
        for new in later:
            changes = {host: _changes(fake.network, new, host) for host in WIRE}
            fake.change(new, changes)
            real.change(new, changes)
            done = [f"{host}: {one}" for host in WIRE for one in changes[host]]
            _compare(fake, real, [str(fake.network), "after", *done])


Changes = Mapping[str, Sequence[Operation]]
"""By host."""


def _changes(old: Network, new: Network, host: str) -> Sequence[Operation]:
    found, wanted = ({noun.key: noun for noun in one.rules(host)} for one in (old, new))
    return plan(found, wanted).operations


def _change(firewalls: Mapping[str, Driver], changes: Changes) -> None:
    for host, operations in changes.items():
        do(firewalls[host], *operations)


def _rules(firewalls: Mapping[str, Driver]) -> set[str]:
    """The rules that the firewalls find, of each host."""
    return {
        f"{host}: {noun}"
        for host, firewall in firewalls.items()
        for noun in firewall.snapshot().values()
        if type(noun) in RULES
    }


def _compare(fake: Fake, real: Real, said: list[str]) -> None:
    targets = fake.addresses()
    pings: list[Ping] = [(name, ip) for name in fake.places for ip in targets]
    calls: list[Call] = [(*ping, port) for ping in pings for port in (PORT, FORWARDED)]
    wanted, ruled = fake.pings(pings), fake.rules()
    answers = fake.calls(calls)
    reached, rules = real.pings(pings, wanted), real.rules()
    found = real.calls(calls, answers)
    lines = [f"rule of the fake: {rule}" for rule in sorted(ruled - rules)]
    lines += [f"rule of the kernel: {rule}" for rule in sorted(rules - ruled)]
    lines += [
        f"ping {ping}: fake {ping in wanted}"
        for ping in sorted(wanted ^ reached, key=str)
        if not (ping in reached and _is_remembered(fake, ping, wanted))
    ]
    lines += [
        f"call {call}: fake {expected}, real {got}"
        for call, expected, got in zip(calls, answers, found, strict=True)
        if expected != got and not (got is None and _is_half_seen(fake, call))
    ]
    if lines:
        ways = [
            fake.fabric.explain(fake.places[source], target)
            for source, target in sorted(wanted ^ reached, key=str)[:3]
        ]
        raise Different("\n".join([*said, *lines, *ways]))


def _is_remembered(fake: Fake, ping: Ping, wanted: Collection[Ping]) -> bool:
    """Whether the answer comes by another address, which the guest has pinged itself.

    The port of a guest in groups remembers whom the guest spoke with, and not each question
    (groups.py, ``_TALKS``); the fake looks at one ping alone.
    """
    name, ip = ping
    way = fake.fabric.explain(fake.places[name], ip)
    answer = re.search(r"no rule lets in echo reply, (\S+) to ", way)
    return answer is not None and (name, ip_address(answer[1])) in wanted


def _is_half_seen(fake: Fake, call: Call) -> bool:
    """Whether a host with rules forwards only the question or only the answer.

    The fake, and ``connected``, end with the answer; Linux tracks what follows.  A host that saw
    the answer alone takes the first data after it for a new connection (nf_conntrack_tcp_loose)
    and translates it, so the asker refuses it.  To one that saw the question alone what follows
    is invalid, and does not leave a zone.
    """
    name, ip, port = call
    way = fake.fabric.explain(fake.places[name], ip, protocol="tcp", port=port)
    asked = {name} | set(re.findall(r" on (\S+): forwards (?!answer)", way))
    answered = {name} | set(re.findall(r" on (\S+): forwards answer", way))
    return any(
        isinstance(noun, Masquerade | PublicIp | ZoneLink)
        for host in answered ^ asked
        for noun in fake.network.nouns.get(host, ())
    )


def tune(driver: Driver, forwards: bool) -> None:
    forwarding = dict.fromkeys(FORWARDING.values(), str(int(forwards)))
    for name, value in {**SYSCTLS, **forwarding}.items():
        if (found := driver.find(Sysctl(name=name))) is not None:
            do(driver, Change(Sysctl(name=name, value=value), found))


class Fake:
    """The network on a fabric."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.fabric = snnet.Fabric()
        self._firewalls: dict[str, FakeFirewall] = {}
        self.places: dict[str, snnet.FakeKernel | FakeGuest] = {}
        for host, address in {**WIRE, "outside": OUTSIDE}.items():
            kernel = self.fabric.add_host(host, address)
            self.places[host] = kernel
            add(kernel, Address(link="eth0", address=WIRE6.get(host, OUTSIDE6)))
            tune(kernel, network.forwards[host])
            add(kernel, *network.links(host))
            self._firewalls[host] = firewall = FakeFirewall(kernel)
            add(firewall, *network.rules(host))
            self.fabric.listen(kernel, "tcp", PORT)
        for guest in network.guests:
            self.places[guest.name] = self._attach(guest)

    def _attach(self, guest: Guest) -> FakeGuest:
        kernel = self.places[guest.host]
        assert isinstance(kernel, snnet.FakeKernel)
        assert isinstance(link(kernel, guest.link), Veth)
        vnic = Vnic(guest.link, guest.mac)
        attached = self.fabric.attach(
            kernel, vnic, address=guest.addresses, gateway=guest.gateways, name=guest.name
        )
        self.fabric.listen(attached, "tcp", PORT)
        return attached

    def change(self, network: Network, changes: Changes) -> None:
        _change(self._firewalls, changes)
        self.network = network

    def rules(self) -> set[str]:
        return _rules(self._firewalls)

    def addresses(self) -> list[IPAddress]:
        """Every address that somebody has, and one of each family that nobody has."""
        found: set[IPAddress] = {ip_address("10.1.0.77"), ip_address("fd00:1::77")}
        found |= {address.ip for guest in self.network.guests for address in guest.addresses}
        for host in (*WIRE, "outside"):
            kernel = self.places[host]
            assert isinstance(kernel, snnet.FakeKernel)
            found |= {ip for ip in kernel.state.local if not ip.is_loopback}
        return sorted(found, key=lambda ip: (ip.version, ip))

    def pings(self, pings: list[Ping]) -> set[Ping]:
        return {(name, ip) for name, ip in pings if self.fabric.ping(self.places[name], ip)}

    def calls(self, calls: list[Call]) -> list[Answer | None]:
        answers: list[Answer | None] = []
        for name, ip, port in calls:
            made = self.fabric.connected(self.places[name], ip, "tcp", port)
            answers.append(Answer(made.station, made.source) if made else None)
        return answers


class Real:
    """The same in namespaces."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._open = ExitStack()
        self._asked = 0
        self._firewalls: dict[str, NftablesFirewall] = {}
        self.spaces: dict[str, Namespace] = {}
        with ExitStack() as opened:
            opened.callback(self._open.close)
            self._build()
            opened.pop_all()

    def _space(self, name: str) -> Namespace:
        self.spaces[name] = space = Namespace(name)
        self._open.callback(space.close)
        space.call(_hurry)
        return space

    def _build(self) -> None:
        wire = self._space("wire")
        hosts = {name: self._space(name) for name in (*WIRE, "outside")}
        commands = ["link add wire type bridge", "link set wire up"]
        for name, space in hosts.items():
            commands.append(
                f"link add to-{name} up master wire type veth peer name eth0 netns {space.path}"
            )
        wire.ip(commands)
        for name, space in hosts.items():
            commands = ["link set lo up", "link set eth0 up"]
            for address in (WIRE.get(name, OUTSIDE), WIRE6.get(name, OUTSIDE6)):
                commands.append(f"address add {address} dev eth0")
            space.ip(commands)
            self._drive(name, space)
        for guest in self.network.guests:
            space = self._space(guest.name)
            hosts[guest.host].ip([f"link set p{guest.link} netns {space.path} name eth0"])
            commands = ["link set lo up", "link set eth0 up"]
            commands += [f"address add {address} dev eth0" for address in guest.addresses]
            commands += [f"route add default via {gateway}" for gateway in guest.gateways]
            space.ip(commands)

    def _drive(self, name: str, space: Namespace) -> None:
        host = RealHost(space.fd, owner=f"cnci:{name}")
        self._open.callback(host.close)
        backend, firewall = NetlinkBackend(host), NftablesFirewall(host)
        self._open.callback(backend.close)
        self._open.callback(firewall.close)
        tune(backend, self.network.forwards[name])
        add(backend, *self.network.links(name))
        add(firewall, *self.network.rules(name))
        self._firewalls[name] = firewall

    def change(self, network: Network, changes: Changes) -> None:
        _change(self._firewalls, changes)
        self.network = network

    def rules(self) -> set[str]:
        return _rules(self._firewalls)

    def pings(self, pings: list[Ping], wanted: set[Ping]) -> set[Ping]:
        """Those that are answered, whoever answers."""
        run, answered = os.urandom(8), set[Ping]()
        with ExitStack() as opened, selectors.DefaultSelector() as selector:
            sockets = {}
            for name in {name for name, _ in pings}:
                for version, make in ((4, icmp_socket), (6, icmp6_socket)):
                    sockets[name, version] = sock = self.spaces[name].call(make)
                    opened.callback(sock.close)
                    selector.register(sock, selectors.EVENT_READ)

            def listen(seconds: float) -> None:
                end = time.monotonic() + seconds
                while (left := end - time.monotonic()) > 0:
                    for key, _ in selector.select(left):
                        assert isinstance(key.fileobj, socket.socket)
                        packet = key.fileobj.recv(2048)
                        six = key.fileobj.family == socket.AF_INET6
                        body = packet if six else packet[4 * (packet[0] & 15) :]
                        if body[0] == (_ECHO6_REPLY if six else 0) and body[8:16] == run:
                            answered.add(pings[struct.unpack("!H", body[16:18])[0]])

            for patience in (0.1, 0.3, 1.0, 1.5):
                for number, (name, ip) in enumerate(pings):
                    if (name, ip) not in answered:
                        token = run + struct.pack("!H", number)
                        # An identifier of its own: of two requests that would have the same
                        # reply the kernel changes one, which then counts as destined elsewhere.
                        identifier = self._asked + number + 1
                        request = echo_request(1, token, ip.version, identifier)
                        try:
                            sockets[name, ip.version].sendto(request, (str(ip), 0))
                        except OSError:
                            continue  # no way there
                listen(patience)
                if answered >= wanted:
                    break
            listen(0.3)
        self._asked += len(pings)
        return answered

    def calls(self, calls: list[Call], wanted: list[Answer | None]) -> list[Answer | None]:
        names = {name for name, _, _ in calls}
        with Servers({name: (self.spaces[name], (PORT,)) for name in names}) as servers:
            return servers.connect(
                [
                    Connection("", name, ip, port, expected.server if expected else None)
                    for (name, ip, port), expected in zip(calls, wanted, strict=True)
                ]
            )

    def __enter__(self) -> Real:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
