"""Security groups on the real kernel: 10,000 rules over 200 VNICs, compared with few and none.

What is compared takes turns in one run, and counts processor time: other work on the machine
disturbs that least.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import pathlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import snnet
from snnet.core.vnics import Vnic
from snnet.system.announcer import checksum
from snnet.system.namespaces import Namespace
from snnet.system.process import run as run_process

from .fake import config
from .timing import Result, median

VNICS, RULES, FEW = 200, 10_000, 10
ROUNDS, MEMBERS, SECONDS = 15, 20, 0.15
FRAMES = 2000
PORT, SEGMENT = 7000, 200
TENANT = "t"
_OFFLOADS = (0x1F, 0x24, 0x2C)  # ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO
_SIOCETHTOOL = 0x8946
_SYN, _ACK = 0x02, 0x10
_TIMESTAMPS = 12
"""Bytes of each segment that are an option of TCP."""


def run() -> Iterator[Result]:
    """Run it in the namespace of the process, which has an uplink in 192.0.2.0/24."""
    with ExitStack() as stack:
        node = stack.enter_context(
            snnet.ComputeNode("cn-1", config(tunnel="vxlan", anti_spoofing=True), api_timeout=300.0)
        )
        node.init()
        stack.callback(node.reset_network)
        _spread(node, FEW)
        made = node.create_vnics([_config(number) for number in range(VNICS)], atomic=True)
        pair = [vnic for one in made[:2] if (vnic := one.vnic) is not None]
        few = median([_add_members(node, FEW) for _ in range(ROUNDS)])
        _spread(node, RULES)
        many = median([_add_members(node, RULES) for _ in range(ROUNDS)])
        yield Result(f"groups: one member more, with {FEW} rules, CPU", few * 1e3, "ms")
        yield Result(
            f"groups: one member more, with {RULES:,} / with {FEW}", many / few, "times", 1.2
        )
        path = stack.enter_context(Path(pair))
        rates: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(ROUNDS):
            for grouped, found in rates.items():
                for number in range(2):
                    node.update_vnic(_config(number, grouped))
                found.append(path.rate())
        plain = median(rates[False])
        yield Result(f"groups: TCP of {SEGMENT} bytes, no groups, a CPU second", plain, "Mbit")
        ratio = median([with_ / without for without, with_ in zip(*rates.values(), strict=True)])
        yield Result(f"groups: the same with {RULES:,} rules / none", ratio, "times", 0.6, True)
        yield from _frames(node, path)


def _frames(node: snnet.ComputeNode, path: Path) -> Iterator[Result]:
    """Compare single frames of a connection: others' work changes the best of bursts least."""
    path.go_silent()
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for grouped, times in found.items():
            for number in range(2):
                node.update_vnic(_config(number, grouped))
            times.append(path.frames())
    for what, *times in zip(
        ("data", "an answer"), *(map(min, zip(*one, strict=True)) for one in found.values()),
        strict=True,
    ):  # fmt: skip
        filtered, plain = times
        yield Result(f"groups: a frame of {what}, {RULES:,} rules / none", filtered / plain,
                     "times", 1 / 0.6)  # fmt: skip


def _config(number: int, grouped: bool = True) -> snnet.VnicConfig:
    role = snnet.VnicRole.TENANT_CONTAINER if number < 2 else snnet.VnicRole.TENANT_VM
    return snnet.VnicConfig(
        role=role, tenant_id=TENANT, subnet_id="s", vnic_id=f"v{number}",
        instance_id=f"i{number}", concentrator_id="c1", concentrator_ip="192.0.2.10",
        subnet="10.1.0.0/16", subnet_key=1, ip=f"10.1.{number // 250}.{number % 250 + 2}",
        groups=(f"g{number}",) if grouped else (),
    )  # fmt: skip


def _rules(number: int, count: int) -> list[snnet.Rule]:
    """The rules of one VNIC's group, of which the last is that of the measured connection."""
    share = count // VNICS or int(number < count)
    others = [
        snnet.Rule("in", "tcp", 10_000 + port, f"10.{port % 250}.0.0/16")
        for port in range(share - 1)
    ]
    return [*others, snnet.Rule("in" if number else "out", "tcp", PORT)][-share:] if share else []


def _spread(node: snnet.ComputeNode, count: int) -> None:
    """Have this many rules in the groups of the VNICs, which are one of each."""
    for number in range(VNICS):
        node.set_group(TENANT, f"g{number}", rules=_rules(number, count))


def _add_members(node: snnet.ComputeNode, count: int) -> float:
    """Return the seconds that one more member of a group takes, on another node."""
    rules, members = _rules(2, count), [f"10.9.0.{last}" for last in range(1, MEMBERS + 1)]
    node.set_group(TENANT, "g2", rules=rules)
    start = time.process_time()
    for size in range(1, MEMBERS + 1):
        node.set_group(TENANT, "g2", rules=rules, members=members[:size])
    return (time.process_time() - start) / MEMBERS


class Path:
    """A TCP connection between the containers of two VNICs, with small segments."""

    def __init__(self, pair: Sequence[Vnic]) -> None:
        self._open = ExitStack()
        self._spaces = spaces = [self._plug(vnic) for vnic in pair]
        self._pair = pair
        self._to = (str(pair[1].ip), PORT)
        self._client = spaces[0]
        server = spaces[1].call(lambda: socket.create_server(("", PORT)))
        self._open.callback(server.close)
        self._received = 0
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def _plug(self, vnic: Vnic) -> Namespace:
        space = Namespace(vnic.vnic_id)
        self._open.callback(space.close)
        run_process(["ip", "link", "set", str(vnic.peer_name), "netns", space.path, "name", "eth0"])
        space.ip(["link set eth0 up", f"address add {vnic.ip}/16 dev eth0"])
        _switch_off("eth0", space.call)
        _switch_off(vnic.link_name, lambda work: work())
        return space

    def _serve(self, server: socket.socket) -> None:
        buffer = bytearray(1 << 16)
        with contextlib.suppress(OSError):  # the end
            while True:
                with server.accept()[0] as sock:
                    while size := sock.recv_into(buffer):
                        self._received += size

    def rate(self) -> float:
        """Return the megabits that a second of processor time carries."""
        with self._client.call(socket.socket) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT + _TIMESTAMPS)
            sock.connect(self._to)
            self._send(sock, SECONDS / 3)
            before, start = self._received, time.process_time()
            self._send(sock, SECONDS)
            rate = (self._received - before) * 8 / (time.process_time() - start) / 1e6
            # What is still under way would not pass while rules change, and delay the next one.
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
        return rate

    def _send(self, sock: socket.socket, seconds: float) -> None:
        data, end = bytes(1 << 14), time.monotonic() + seconds
        while time.monotonic() < end:
            sock.sendall(data)

    def go_silent(self) -> None:
        """Take the addresses away, so that nobody answers to frames."""
        for space in self._spaces:
            space.ip(["address flush dev eth0"])

    def frames(self) -> tuple[float, float]:
        """Return the seconds of processor time that a frame takes: of data, and of an answer."""
        with ExitStack() as stack:
            ends = [self._raw(space, stack) for space in self._spaces]
            ends[0].send(self._frame(0, _SYN))
            return self._burst(ends, 0), self._burst(ends, 1)

    def _burst(self, ends: Sequence[socket.socket], sender: int) -> float:
        frame, out = self._frame(sender, _ACK), self._pair[1 - sender].link_name
        before, start = _sent(out), time.process_time()
        for _ in range(FRAMES):
            ends[sender].send(frame)
        took = time.process_time() - start
        if _sent(out) - before < FRAMES:
            raise RuntimeError(f"frames to {out} were dropped")
        return took / FRAMES

    def _raw(self, space: Namespace, stack: ExitStack) -> socket.socket:
        made = space.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        stack.callback(made.close)
        made.bind(("eth0", 0))
        return made

    def _frame(self, sender: int, flags: int) -> bytes:
        """A segment of a connection of its own; the checksum of TCP is not looked at."""
        here, there = self._pair[sender], self._pair[1 - sender]
        ports = (40_000, PORT) if sender == 0 else (PORT, 40_000)
        tcp = struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 1000, 0, 0) + bytes(SEGMENT)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0)
        head += here.ip.packed + there.ip.packed
        packet = head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp
        macs = bytes.fromhex(f"{there.mac}{here.mac}".replace(":", ""))
        return macs + struct.pack("!H", 0x0800) + packet

    def __enter__(self) -> Path:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _sent(link: str) -> int:
    """Return how many packets have left by the link (proc_net(5))."""
    lines = pathlib.Path("/proc/thread-self/net/dev").read_text().splitlines()
    (line,) = (line for line in lines if line.strip().startswith(f"{link}:"))
    return int(line.partition(":")[2].split()[9])


def _switch_off(link: str, call: Callable[[Callable[[], None]], None]) -> None:
    """Have each segment be a frame: no offloads of segmentation (ethtool(8))."""

    def work() -> None:
        with socket.socket() as sock:
            for command in _OFFLOADS:
                value = array.array("B", struct.pack("II", command, 0))
                request = struct.pack("16sP", link.encode(), value.buffer_info()[0])
                fcntl.ioctl(sock, _SIOCETHTOOL, request)

    call(work)
