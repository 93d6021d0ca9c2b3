"""The real LAN: a network namespace for the host, and one for each guest."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from snnet.contract import ApiError, Driver, Unsupported
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace, end_processes, processes_in
from snnet.system.process import find_program, missing_program, run, script_in_memory

from .lan import PATIENT, Lan, Lease

_CLIENT = "busybox"
_PASSABLE = 0o711  # servers drop root and must still read their files

# udhcpc runs this when it has a lease; see its --help.
_SCRIPT = """#!{busybox} sh
if [ "$1" = bound ]; then echo "lease $ip/$mask $router $mtu"; fi
"""


class RealLan(Lan):
    """The LAN in network namespaces; BusyBox's udhcpc is the DHCP client of each guest.

    ``open_driver`` is called with a host (``RealHost``) whose ``netns`` has the bridges.
    Needs root.
    """

    def __init__(self, open_driver: Callable[[RealHost], Driver], owner: str = "cnci:kit") -> None:
        program = find_program(_CLIENT)
        if program is None:
            raise Unsupported(missing_program(_CLIENT))
        self.owner = owner
        self._open_driver = open_driver
        self._program = program
        self._opened = ExitStack()
        self._guests: dict[tuple[str, str], Namespace] = {}
        self._ports = itertools.count()
        with ExitStack() as undo:
            undo.callback(self.close)
            self._runtime = self._folder()
            script = _SCRIPT.format(busybox=self._program)
            self._script = self._opened.enter_context(script_in_memory("udhcpc-script", script))
            self._host = self._namespace("host")
            self._opened.callback(end_processes, [self._host])
            self.driver = self._opened.enter_context(self.another())
            undo.pop_all()

    @contextmanager
    def another(self) -> Iterator[Driver]:
        host = RealHost(self._host.fd, owner=self.owner, runtime=self._runtime)
        with ExitStack() as opened:
            opened.callback(host.close)
            driver = self._open_driver(host)
            opened.callback(driver.close)
            yield driver

    def add_bridge(self, name: str, *gateways: IPv4Interface) -> None:
        self._host.ip(
            [
                f"link add name {name} type bridge",
                *(f"address add {gateway} dev {name}" for gateway in gateways),
                f"link set dev {name} up",
            ]
        )

    def remove_bridge(self, name: str) -> None:
        self._host.ip([f"link delete dev {name}"])
        self._guests = {key: guest for key, guest in self._guests.items() if key[0] != name}

    def lease(self, bridge: str, mac: str, tries: int = PATIENT) -> Lease | None:
        guest = self._guests.get((bridge, mac)) or self._plug_in(bridge, mac)
        options = f"-i eth0 -f -n -q -T 1 -t {tries} -O mtu -s {self._script}".split()
        argv = [self._program, "udhcpc", *options]
        done = run(argv, netns=guest.fd, timeout=tries + 30.0, check=False)
        for line in done.stdout.splitlines():
            match line.split():
                case ["lease", address, router, mtu]:
                    return Lease(IPv4Interface(address), IPv4Address(router), int(mtu))
        if done.returncode == 0:
            raise ApiError(f"the DHCP client said: {done.stderr.strip()}")
        return None

    def residue(self) -> list[str]:
        processes = [f"process {pid}" for pid, _ in processes_in([self._host])]
        return sorted([*processes, *(f"file {path}" for path in self._runtime.rglob("*"))])

    def close(self) -> None:
        self._opened.close()

    def _plug_in(self, bridge: str, mac: str) -> Namespace:
        guest = self._guests[bridge, mac] = self._namespace(f"{mac} on {bridge}")
        port = f"port{next(self._ports)}"
        self._host.ip(
            [
                f"link add name {port} type veth peer name eth0 address {mac} netns {guest.path}",
                f"link set dev {port} master {bridge} up",
            ]
        )
        guest.ip(["link set dev eth0 up"])
        return guest

    def _namespace(self, name: str) -> Namespace:
        space = Namespace(name)
        self._opened.callback(space.close)
        return space

    def _folder(self) -> Path:
        folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="snnet-kit-")))
        folder.chmod(_PASSABLE)
        runtime = folder / "run"
        runtime.mkdir()
        runtime.chmod(_PASSABLE)
        return runtime
