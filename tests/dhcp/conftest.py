"""A small LAN for real DHCP: a server namespace with bridges, guests on their ports."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from snnet.contract import Add, DhcpScope, Operation, Remove
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.system.host import RealHost

_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
echo "ip=$ip mtu=$mtu router=$router dns=$dns hostname=$hostname domain=$domain subnet=$subnet"
"""


class Guest:
    """A machine on a bridge, with one interface, eth0."""

    def __init__(self, netns: str) -> None:
        self.netns = netns

    def lease(self, tries: int = 40, *options: str) -> dict[str, str] | None:
        """Ask for a lease, as udhcpc does, once a second; what it would set, or None."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh", dir="/run", delete=False) as script:
            script.write(_SCRIPT)
        Path(script.name).chmod(0o755)
        try:
            done = self.run(
                "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-s", script.name,
                "-t", str(tries), "-T", "1", *options,
            )  # fmt: skip
        finally:
            Path(script.name).unlink()
        if done.returncode != 0:
            return None
        words = next(line for line in done.stdout.splitlines() if line.startswith("ip=")).split()
        return dict(word.split("=", 1) for word in words)

    def lookup(self, name: str, server: str) -> str | None:
        """The IPv4 address of a name, by that server; None if it gives none within 2 s."""
        done = self.run("timeout", "2", "busybox", "nslookup", "-type=a", name, server)
        answer = done.stdout.partition("Name:")[2].split()
        return answer[answer.index("Address:") + 1] if "Address:" in answer else None

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        argv = ("ip", "netns", "exec", self.netns, *argv)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=90)

    def ip(self, *words: str) -> None:
        _ip("-n", self.netns, *words)


class Lan:
    """The server's namespace.  Bridges have the gateway address their guests expect."""

    def __init__(self, make_netns: Callable[[], str]) -> None:
        self._make_netns = make_netns
        self._guests = 0
        self.netns = make_netns()

    def bridge(self, name: str, subnet: str) -> None:
        gateway = f"{IPv4Network(subnet)[1]}/{subnet.partition('/')[2]}"
        self.ip("link", "add", name, "type", "bridge")
        self.ip("address", "add", gateway, "dev", name)
        self.ip("link", "set", name, "up")

    def guest(self, bridge: str, mac: str, address: str | None = None) -> Guest:
        """A new guest; one with an address needs no lease to send."""
        self._guests += 1
        guest, port = Guest(self._make_netns()), f"port{self._guests}"
        self.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", guest.netns)
        self.ip("link", "set", port, "master", bridge, "up")
        guest.ip("link", "set", "eth0", "address", mac, "up")
        if address is not None:
            guest.ip("address", "add", address, "dev", "eth0")
        return guest

    def ip(self, *words: str) -> None:
        _ip("-n", self.netns, *words)


class Servers:
    """Makes drivers; what they started is stopped at the end."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self._drivers: list[Dnsmasq] = []

    def open(self, netns: str, owner: str = "cnci:c1", runtime: Path | None = None) -> Dnsmasq:
        driver = Dnsmasq(RealHost(netns, owner=owner, runtime=runtime or self.runtime))
        self._drivers.append(driver)
        return driver

    def close(self) -> None:
        for driver in self._drivers:
            for scope in driver.snapshot().values():
                driver.apply([Remove(scope)])
            driver.close()
            driver.host.close()


@pytest.fixture
def lan(make_netns: Callable[[], str]) -> Lan:
    """A server's namespace with a bridge ``br0`` for 10.1.0.0/24."""
    lan = Lan(make_netns)
    lan.bridge("br0", "10.1.0.0/24")
    return lan


@pytest.fixture
def servers(lan: Lan) -> Iterator[Servers]:
    # Not tmp_path: dnsmasq drops root and must still be able to pass through.
    runtime = Path(tempfile.mkdtemp(prefix="snnet-test-", dir="/run"))
    runtime.chmod(0o711)
    servers = Servers(runtime)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, runtime)
        stack.callback(servers.close)
        yield servers


@pytest.fixture
def driver(lan: Lan, servers: Servers) -> Dnsmasq:
    return servers.open(lan.netns)


@pytest.fixture
def scope() -> DhcpScope:
    return DhcpScope(link="br0", subnets=(IPv4Network("10.1.0.0/24"),), mtu=1400)


@pytest.fixture
def do() -> Callable[[Dnsmasq, Operation], None]:
    """Carry out one operation, which must succeed."""

    def apply(driver: Dnsmasq, operation: Operation) -> None:
        outcome = driver.apply([operation])
        if outcome.error is not None:
            raise outcome.error
        assert outcome.done == {0}

    return apply


@pytest.fixture
def served(
    driver: Dnsmasq, scope: DhcpScope, do: Callable[[Dnsmasq, Operation], None]
) -> DhcpScope:
    """The scope, with dnsmasq running."""
    do(driver, Add(scope))
    return scope


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
