"""A real DHCP client, run in each guest's namespace."""

from __future__ import annotations

from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv4Interface

from snnet.contract import ApiError, Unsupported
from snnet.system.namespaces import Namespace
from snnet.system.process import find_program, missing_program, run, script_in_memory

from .lab import Lease

PROGRAM = "busybox"
_TRIES = 60
"""DHCPDISCOVER messages to send, one a second, before a guest gives up."""

# udhcpc runs this script when it starts and when it has a lease; see its --help.
# Applets of this busybox take precedence over programs of the same name.
_SCRIPT = """#!{busybox} sh
set -e
case $1 in
deconfig)
    ip link set dev lo up
    ip link set dev "$interface" up
    ;;
bound)
    ip link set dev "$interface" mtu "$mtu"
    ip address add "$ip/$mask" dev "$interface"
    ip route add default via "$router" dev "$interface"
    echo "lease $ip/$mask $router $mtu"
    ;;
esac
"""


class DhcpClient:
    """BusyBox's udhcpc, and the script that configures the guest from its lease."""

    def __init__(self) -> None:
        program = find_program(PROGRAM)
        if program is None:
            raise Unsupported(missing_program(PROGRAM))
        self._program = program

    def script(self) -> AbstractContextManager[str]:
        """The path of the script, a file in memory."""
        return script_in_memory("udhcpc-script", _SCRIPT.format(busybox=self._program))

    def lease(self, namespace: Namespace, link: str, script: str) -> Lease | None:
        """Get a lease for the link and configure it; None if no server answered."""
        options = f"-i {link} -f -n -q -T 1 -t {_TRIES} -O mtu".split()
        done = run(
            [self._program, "udhcpc", *options, "-s", script],
            netns=namespace.fd,
            timeout=_TRIES + 30.0,
            check=False,
        )
        for line in done.stdout.splitlines():
            match line.split():
                case ["lease", address, router, mtu]:
                    return Lease(
                        namespace.name, IPv4Interface(address), IPv4Address(router), int(mtu)
                    )
        if done.returncode == 0:
            raise ApiError(
                f"{namespace.name}: the DHCP client reported no lease: {done.stderr.strip()}"
            )
        return None
