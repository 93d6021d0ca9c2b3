"""What a frame of a guest costs on its way, compared with the same links made by hand.

Guests are the descriptors of taps: a write is a frame that the guest sends, and the kernel carries
it to the other end before the write returns.  So the processor time of a burst of writes is that
of the whole way.  What is left unread at the far end is dropped there, at little cost.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import snnet
from snnet.lab.taps import open_tap
from snnet.system.announcer import checksum
from snnet.system.namespaces import Namespace, end_processes
from snnet.system.process import run as run_process

from .fake import config
from .timing import Result, seconds

ROUNDS, FRAMES, PAYLOAD = 25, 2000, 200
COMPUTE, CONCENTRATOR = "192.0.2.11", "192.0.2.10"
OUTSIDE = "203.0.113.9"
OUT = "out0"
OUT_MAC, OUTSIDE_MAC = "02:00:00:00:02:01", "02:00:00:00:02:09"
BRIDGED = "net/bridge/bridge-nf-call-iptables"
SUBNETS = (1, 2)
GUESTS = {"guest": "10.1.0.2", "near": "10.1.0.3", "far": "10.2.0.2"}
"""Who sends, and who is on the same bridge and in another subnet."""


def run() -> Iterator[Result]:
    """Run it in namespaces of its own."""
    with ExitStack() as stack:
        hand, ours = (stack.enter_context(place()) for place in (ByHand, BySnnet))
        for shown, target in ((False, 1.05), (True, 1.4)):
            if all(place.show_bridged(shown) for place in (hand, ours)):
                what = f"on one bridge, br_netfilter {'on' if shown else 'off'}"
                yield from _compare(hand, ours, "near", what, target)
        yield from _compare(hand, ours, "far", "through the concentrator", 1.1)
        yield from _compare(hand, ours, "outside", "out by NAT", 1.15)


def _compare(hand: Place, ours: Place, to: str, what: str, target: float) -> Iterator[Result]:
    """Send bursts in turn; the best are those that other work disturbed least."""
    ways = [place.way(to) for place in (hand, ours)]
    rounds = [[way.burst() for way in ways] for _ in range(ROUNDS)]
    floor, best = map(min, zip(*rounds, strict=True))
    yield Result(f"forwarding: a frame {what}", best * 1e6, "CPU us")
    yield Result(f"forwarding: a frame {what} / by hand", best / floor, "times", target)


class End(NamedTuple):
    """Where frames enter or leave: a descriptor, its link and the namespace of that."""

    tap: int
    link: str
    space: Namespace
    mac: str
    address: str

    def read(self) -> bytes | None:
        """Return the frame that arrived first, if there is one."""
        with suppress(BlockingIOError):
            return os.read(self.tap, 65536)
        return None

    def arrived(self) -> int:
        """Return how many frames were read, or dropped because nobody did."""
        text = self.space.call(Path("/proc/thread-self/net/dev").read_text)
        (line,) = (line for line in text.splitlines() if line.strip().startswith(f"{self.link}:"))
        counters = line.partition(":")[2].split()
        return int(counters[9]) + int(counters[11])  # transmitted, and dropped (proc_net(5))


class Way:
    """Frames of one flow between two ends, which has been answered once."""

    def __init__(self, sender: End, receiver: End, router: str | None) -> None:
        self._sender, self._receiver = sender, receiver
        self._frame = _frame(sender, receiver, router or receiver.mac)
        os.write(sender.tap, self._frame)
        os.write(receiver.tap, _turned(_arrived(receiver)))
        _arrived(sender)

    def burst(self) -> float:
        """Return the seconds of processor time that a frame takes."""
        write, tap, frame = os.write, self._sender.tap, self._frame

        def send() -> None:
            for _ in range(FRAMES):
                write(tap, frame)

        before = self._receiver.arrived()
        took = seconds(send, time.process_time)
        while self._receiver.read():
            pass
        if self._receiver.arrived() - before < FRAMES:
            raise RuntimeError(f"frames to {self._receiver.address} were dropped on their way")
        return took / FRAMES


def _arrived(end: End) -> bytes:
    """Return the first UDP packet that arrives; the kernel has others of its own."""
    for _ in range(100):
        while frame := end.read():
            if frame[12:14] == b"\x08\x00" and frame[23] == 17:
                return frame
        time.sleep(0.01)
    raise RuntimeError(f"nothing arrives at {end.address}")


def _turned(frame: bytes) -> bytes:
    """Return an answer.  The checksum of its header is that of the frame, whose halves it swaps."""
    target, source, kind = frame[:6], frame[6:12], frame[12:26]
    here, there, ports, rest = frame[26:30], frame[30:34], frame[34:38], frame[38:]
    return source + target + kind + there + here + ports[2:] + ports[:2] + rest


def _frame(sender: End, receiver: End, mac: str) -> bytes:
    """A UDP packet without a checksum (RFC 768)."""
    udp = struct.pack("!HHHH", 40_000, 7000, 8 + PAYLOAD, 0) + bytes(PAYLOAD)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    head += _packed(sender.address) + _packed(receiver.address)
    packet = head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp
    return bytes.fromhex(f"{mac}{sender.mac}".replace(":", "")) + b"\x08\x00" + packet


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


class Place:
    """A compute host with three guests, their concentrator, and a link out of it."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._compute, self._hub = self._space("compute"), self._space("hub")
        self._compute.ip(
            [
                f"link add eth0 type veth peer name eth0 netns {self._hub.path}",
                f"address add {COMPUTE}/24 dev eth0",
                "link set eth0 up",
            ]
        )
        self._hub.ip(
            [
                f"address add {CONCENTRATOR}/24 dev eth0",
                "link set eth0 up",
                f"tuntap add {OUT} mode tap",
                f"link set {OUT} address {OUT_MAC} up",
                f"address add 203.0.113.1/24 dev {OUT}",
                f"neigh add {OUTSIDE} lladdr {OUTSIDE_MAC} dev {OUT} nud permanent",
            ]
        )
        self._routers: dict[int, str] = {}
        """By subnet, the MAC of its gateway."""
        self._ends = {"outside": self._end(OUT, self._hub, OUTSIDE_MAC, OUTSIDE)}

    def _space(self, name: str) -> Namespace:
        space = Namespace(name)
        self._open.callback(space.close)
        self._open.callback(end_processes, [space])
        return space

    def _end(self, link: str, space: Namespace, mac: str, address: str) -> End:
        tap = open_tap(space, link)
        os.set_blocking(tap, False)
        self._open.callback(os.close, tap)
        return End(tap, link, space, mac, address)

    def _know(self, bridges: Mapping[int, str]) -> None:
        """Have the hub know its guests, whose descriptors do not answer to ARP."""
        for number, bridge in bridges.items():
            shown = run_process(["ip", "-br", "link", "show", bridge], netns=self._hub.fd).stdout
            self._routers[number] = shown.split()[2]
            self._hub.ip(
                f"neigh replace {end.address} lladdr {end.mac} dev {bridge} nud permanent"
                for end in self._ends.values()
                if end.address.startswith(f"10.{number}.")
            )

    def way(self, to: str) -> Way:
        """Return the way from the first guest to another end."""
        router = None if to == "near" else self._routers[1]
        return Way(self._ends["guest"], self._ends[to], router)

    def show_bridged(self, shown: bool) -> bool:
        """Set whether IP's hooks see bridged frames on the compute host; see ``_set``."""
        return _set(self._compute, BRIDGED, shown)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _set(space: Namespace, parameter: str, on: bool) -> bool:
    """Set a kernel parameter; return False if the kernel lacks it, as without br_netfilter."""

    def work() -> bool:
        path = Path("/proc/sys", parameter)
        if path.exists():
            path.write_text(str(int(on)))
        return path.exists()

    return space.call(work)


class ByHand(Place):
    """Made by ``ip``, without rules, but for the one that translates what leaves."""

    def __init__(self) -> None:
        super().__init__()
        for space, local, remote in (
            (self._compute, COMPUTE, CONCENTRATOR),
            (self._hub, CONCENTRATOR, COMPUTE),
        ):
            for number in SUBNETS:
                space.ip(_by_hand(number, local, remote))
        for name, address in GUESTS.items():
            mac, number = snnet.mac_for(address), address.split(".")[1]
            self._compute.ip(
                [
                    f"tuntap add {name} mode tap",
                    f"link set {name} master br{number} mtu 1450 addrgenmode none up",
                ]
            )
            self._ends[name] = self._end(name, self._compute, mac, address)
        self._hub.ip(f"address add 10.{number}.0.1/24 dev br{number}" for number in SUBNETS)
        _set(self._hub, "net/ipv4/ip_forward", True)
        _set(self._hub, BRIDGED, False)  # as a concentrator has it
        rules = (
            "add table ip nat\n"
            "add chain ip nat out { type nat hook postrouting priority srcnat; }\n"
            f"add rule ip nat out oifname {OUT} masquerade\n"
        )
        run_process(["nft", "-f", "-"], input=rules, netns=self._hub.fd)
        self._know({number: f"br{number}" for number in SUBNETS})


def _by_hand(number: int, local: str, remote: str) -> list[str]:
    link = f"vx{number}"
    return [
        f"link add br{number} mtu 1450 type bridge",
        f"link add {link} mtu 1450 master br{number} type vxlan id {number} "
        f"local {local} remote {remote} dstport 4789",
        f"link set {link} addrgenmode none up",
        f"link set br{number} addrgenmode none up",
    ]


class BySnnet(Place):
    """The same links of a compute node and a concentrator, with their default rules."""

    def __init__(self) -> None:
        super().__init__()
        asked = config(tunnel="vxlan")
        node = snnet.ComputeNode("cn-1", asked, netns=self._compute.fd, api_timeout=60.0)
        self._open.enter_context(node).init()
        self._open.callback(node.reset_network)
        cnci = snnet.Cnci("c1", asked, tenant_id="t", netns=self._hub.fd, api_timeout=60.0)
        self._open.enter_context(cnci).init()
        self._open.callback(cnci.shutdown)
        for name, address in GUESTS.items():
            made = node.create_vnic(_vnic(name, address))
            vnic, event = made.vnic, made.tunnel_event
            self._ends[name] = self._end(vnic.link_name, self._compute, vnic.mac, address)
            if event is not None:
                cnci.add_remote_subnet(
                    event.subnet, event.subnet_key, str(event.cn_ip), port=event.port
                )
        cnci.enable_nat([OUT])
        bridges = {subnet.key: subnet.bridge.name for subnet in cnci.topology().subnets}
        for bridge in bridges.values():
            cnci.allow_external(OUT, bridge)
        self._know(bridges)


def _vnic(name: str, address: str) -> snnet.VnicConfig:
    number = int(address.split(".")[1])
    return snnet.VnicConfig(
        tenant_id="t", subnet_id=f"s{number}", vnic_id=name, instance_id=name,
        concentrator_id="c1", concentrator_ip=CONCENTRATOR, subnet=f"10.{number}.0.0/24",
        subnet_key=number, ip=address,
    )  # fmt: skip
