"""The real place: a network namespace of its own."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import Struct

from snnet.contract import Driver
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace
from snnet.system.process import run

from .place import ADDRESS, ADDRESS6, UPLINK, Place

_FAR_END = "far0"

# linux/if_tun.h
_TUNGETIFF = 0x800454D2
_TUNSETIFF = 0x400454CA
_IFREQ = Struct("=16sH22x")
_TAP = 0x0002 | 0x1000  # IFF_TAP, IFF_NO_PI
_VNET_HEADER = 0x4000  # IFF_VNET_HDR
_MULTI_QUEUE = 0x0100  # IFF_MULTI_QUEUE


class RealPlace(Place):
    """A host of the backend suite, in a new network namespace.

    ``open_driver`` is called with a host (``RealHost``) whose ``netns`` it is.
    Needs root; takes about 5 ms to make.
    """

    def __init__(self, open_driver: Callable[[RealHost], Driver], owner: str = "cn:kit") -> None:
        self.owner = owner
        self._open_driver = open_driver
        self._opened = ExitStack()
        with ExitStack() as undo:
            undo.callback(self.close)
            folder = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="snnet-kit-"))
            self._runtime = Path(folder, "run")
            self._space = self._namespace("host")
            self._space.ip(_COMMANDS)
            self.driver = self._opened.enter_context(self.another())
            undo.pop_all()

    @contextmanager
    def another(self) -> Iterator[Driver]:
        host = RealHost(self._space.fd, owner=self.owner, runtime=self._runtime)
        with ExitStack() as opened:
            opened.callback(host.close)
            driver = self._open_driver(host)
            opened.callback(driver.close)
            yield driver

    # -- from outside ------------------------------------------------------------------

    def make_bridge(self, name: str, *, alias: str = "", group: int = 0) -> None:
        self._space.ip([f"link add name {name} type bridge"])
        self.mark_link(name, alias=alias, group=group)

    def make_other(self, name: str, kind: str) -> None:
        self._space.ip([_OTHERS[kind].format(name=name)])

    def ip(self, command: str) -> bool:
        self._space.ip([command])
        return True

    def delete_link(self, name: str) -> None:
        self._space.ip([f"link delete dev {name}"])

    def mark_link(self, name: str, *, alias: str, group: int) -> None:
        words = ["ip", "link", "set", "dev", name, "group", str(group), "alias", alias]
        run(words, netns=self._space.fd)

    def move_veth(self, name: str) -> None:
        self._space.ip([f"link set dev {name} netns {self._namespace('elsewhere').path}"])

    # -- the witness -------------------------------------------------------------------

    def names(self) -> set[str]:
        return {name for _, name in self._space.call(socket.if_nameindex)}

    def link_local_addresses(self, name: str) -> list[str]:
        # proc_net(5): address, index, prefix length, scope, flags, link; link-local is 20.
        lines = self._space.call(Path("/proc/thread-self/net/if_inet6").read_text).splitlines()
        rows = map(str.split, lines)
        return [row[0] for row in rows if row[3] == "20" and row[5] == name]

    def setting(self, name: str) -> str:
        path = Path("/proc/sys", name.translate(str.maketrans("./", "/.")))
        return self._space.call(path.read_text).strip()

    def description(self, name: str) -> str | None:
        words = ["ip", "-details", "link", "show", "dev", name]
        return run(words, netns=self._space.fd).stdout

    def open_tap(self, name: str, *, vnet_header: bool) -> bool:
        flags = _TAP | (_VNET_HEADER if vnet_header else 0)

        def attach() -> None:
            with open("/dev/net/tun", "r+b", buffering=0) as queue:
                fcntl.ioctl(queue, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))

        self._space.call(attach)
        return True

    def tap_of(self, fd: int) -> str | None:
        name, flags = _IFREQ.unpack(fcntl.ioctl(fd, _TUNGETIFF, bytes(_IFREQ.size)))
        wanted = _TAP | _VNET_HEADER | _MULTI_QUEUE
        assert flags & wanted == wanted, f"flags {flags:#x}"
        return str(name.rstrip(b"\0").decode())

    def close(self) -> None:
        self._opened.close()

    def _namespace(self, name: str) -> Namespace:
        space = Namespace(name)
        self._opened.callback(space.close)
        return space


_OTHERS = {
    "ifb": "link add {name} type ifb",
    "tun": "tuntap add {name} mode tun",
    "macvlan": f"link add {{name}} link {UPLINK} type macvlan",
    "vxlan": "link add {name} type vxlan external dstport 4790",
}
_COMMANDS = [
    "link set lo up",
    f"link add {UPLINK} type veth peer name {_FAR_END}",
    # The far end needs no address.
    f"link set {_FAR_END} addrgenmode none",
    f"link set {_FAR_END} up",
    f"link set {UPLINK} up",
    f"address add {ADDRESS} dev {UPLINK}",
    f"address add {ADDRESS6} dev {UPLINK} nodad",
]
