"""The least work that makes a VNIC: requests prepared beforehand, and nothing but sending them.

The same messages, over the same kind of sockets, one VNIC at a time.  What a library adds, to
check, to plan, to undo and to remember, is what the benchmarks measure against this.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any
from unittest.mock import patch

import snnet
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Add, Noun, Remove, Tap, Veth
from snnet.contract.addresses import mac_of
from snnet.firewall.nftables import NftablesFirewall
from snnet.firewall.nftables.steps import PreparedOperation
from snnet.firewall.nftables.writer import by_netlink, requests
from snnet.system import nf_tables
from snnet.system.announcer import arp, packet_socket
from snnet.system.host import RealHost
from snnet.system.netlink import Netlink
from snnet.system.nfnetlink import NETFILTER, Nfnetlink

BURST = 40

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI, IFF_TUN_EXCL = 0x2, 0x1000, 0x8000
IFREQ = struct.Struct("=16sH22x")

# linux/netlink.h
NLMSG_HDRLEN, ERROR = 16, struct.Struct("=i")
# linux/rtnetlink.h: the index of struct ifinfomsg follows family and type.
RTM_NEWLINK, RTM_SETLINK = 16, 19
INDEX, INDEX_AT = struct.Struct("=i"), NLMSG_HDRLEN + 4
_ANSWER = bytearray(4096)


def settle() -> None:
    """Wait until the kernel has finished its work after a delete."""
    time.sleep(0.1)


def taps(bridge: str | None) -> list[Tap]:
    """Return taps on the bridge as snnet makes them."""
    return [
        Tap(
            name=f"floor{number}",
            group=0,
            mac=f"fe:00:00:00:01:{number:02x}",
            mtu=1450,
            master=bridge,
            alias=f"snnet1 o=cn:cn-1 k=vm t=t1 s=s1 v=v{number} i=i{number} a=10.1.0.{number}",
        )
        for number in range(BURST)
    ]


class Floor:
    """Creates taps with the smallest number of system calls, over one plain socket."""

    def __init__(self) -> None:
        self._links = kernel_socket(socket.NETLINK_ROUTE)

    def prepare(self, backend: NetlinkBackend, tap: Tap) -> tuple[bytes, bytes]:
        """Return what ``make`` needs of a tap: its name, and the message that sets the rest."""
        return tap.name.encode(), bytes(backend.links.tap_message(tap))

    def make(self, prepared: tuple[bytes, bytes]) -> None:
        """Create one persistent tap with all its attributes."""
        name, message = prepared
        fd = self.open(name)
        send(self._links, message)
        self.finish(fd)

    def open(self, name: bytes) -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(name, IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL))
        return fd

    def finish(self, fd: int) -> None:
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
        os.close(fd)

    def close(self) -> None:
        self._links.close()


@dataclass(frozen=True, slots=True)
class Prepared:
    """The messages for a VNIC: its link, its rules, and what is sent on its bridge.

    Of a tap, ``steps`` are the message after its device; of a veth pair, the one that makes it
    and those that need its index.
    """

    link: Tap | Veth
    steps: Sequence[bytearray]
    rules: bytes
    frames: Sequence[tuple[bytes, str]]


class RuledFloor(Floor):
    """Creates VNICs as a node does: a quiet port, its rules if any, and an announcement.

    They are those that the node would make: after ``rebuild_topology`` they are its own.
    """

    def __init__(self, host: RealHost) -> None:
        super().__init__()
        self._host = host
        self._rules = kernel_socket(NETFILTER)
        self._packets = packet_socket()
        self._netfilter = Nfnetlink(host.netns.fd, nf_tables.SUBSYSTEM)

    def prepare_vnic(
        self, node: snnet.ComputeNode, backend: NetlinkBackend, cfg: snnet.VnicConfig
    ) -> Prepared:
        """Turn the plan of the VNIC into messages."""
        nouns = [op.noun for op in node.plan_create_vnic(cfg) if isinstance(op, Add)]
        (link,) = [noun for noun in nouns if isinstance(noun, (Tap, Veth))]
        rules = [noun for noun in nouns if type(noun) in NftablesFirewall.carries]
        if isinstance(link, Tap):
            steps = [backend.links.tap_message(link)]
        else:
            steps = requests_for(link, self._host)
        batch = self._batch(rules) if rules else b""
        return Prepared(link, steps, batch, _frames(cfg, link))

    def make_vnic(self, prepared: Prepared) -> None:
        name = prepared.link.name
        if isinstance(prepared.link, Tap):
            fd = self.open(name.encode())
            quieten(name)
            send(self._links, prepared.steps[0])
            self.finish(fd)
        else:
            made, *steps = prepared.steps
            index = send(self._links, made)
            quieten(name)
            for step in steps:
                INDEX.pack_into(step, INDEX_AT, index)
                send(self._links, step)
        if prepared.rules:
            send(self._rules, prepared.rules)
        for frame, bridge in prepared.frames:
            self._packets.sendto(frame, (bridge, 0))

    def _batch(self, rules: Sequence[Noun]) -> bytes:
        steps = [PreparedOperation.of(Add(rule)) for rule in rules]
        changes = by_netlink(command for step in steps for command in step.commands)
        assert changes is not None
        message, _ = self._netfilter.batch(requests(changes))
        return bytes(message)

    def close(self) -> None:
        super().close()
        self._rules.close()
        self._packets.close()
        self._netfilter.close()


def _frames(cfg: snnet.VnicConfig, link: Tap | Veth) -> list[tuple[bytes, str]]:
    """The announcement of the guest's address on its bridge."""
    address = IPv4Address(str(cfg.ip))
    return [(arp(bytes.fromhex(mac_of(address).replace(":", "")), address), link.master or "")]


def requests_for(link: Veth, host: RealHost) -> list[bytearray]:
    """Make and remove the link; return the requests of rtnetlink(7) that made it."""
    messages: list[bytearray] = []
    request = Netlink.request

    def noted(self: Netlink, message: bytearray, *arguments: Any, **options: Any) -> list[bytes]:
        if int.from_bytes(message[4:6], sys.byteorder) in (RTM_NEWLINK, RTM_SETLINK):
            messages.append(bytearray(message))
        return request(self, message, *arguments, **options)

    with patch.object(Netlink, "request", noted):
        backend = NetlinkBackend(host)
        backend.apply([Add(link)])
        made = [*messages]
        backend.apply([Remove(link)])
        backend.close()
    return made


def quieten(name: str) -> None:
    """Keep IPv6 off a port."""
    fd = os.open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, b"1")
    os.close(fd)


def kernel_socket(protocol: int) -> socket.socket:
    """Return a socket for requests of a family of netlink(7)."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    kernel.connect((0, 0))
    return kernel


def send(kernel: socket.socket, message: bytes | bytearray) -> int:
    """Send a request; return the index of the link that it made, if the kernel says so.

    Raises OSError if the kernel refuses the request.
    """
    kernel.send(message)
    kernel.recv_into(_ANSWER)
    index = 0
    if _ANSWER[4] == RTM_NEWLINK:  # the echo, before the acknowledgement
        (index,) = INDEX.unpack_from(_ANSWER, INDEX_AT)
        kernel.recv_into(_ANSWER)
    if number := -ERROR.unpack_from(_ANSWER, NLMSG_HDRLEN)[0]:
        raise OSError(number, "floor")
    return index
