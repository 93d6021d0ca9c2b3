"""``snnet agent`` as a process, on a host that is a network namespace of the real kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snnet.system.process import find_program

pytestmark = pytest.mark.kernel

HOST_IP, OUTSIDE_IP = "192.0.2.11", "192.0.2.1"
SERVER = (
    "import socket, sys\n"
    "server = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    connection, peer = server.accept()\n"
    "    connection.sendall(peer[0].encode())\n"
    "    connection.close()\n"
)
ASK = (
    "import socket, sys\n"
    "with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as connection:\n"
    "    print(connection.recv(100).decode())\n"
)


class Lan:
    """A host with its agent, the outside beyond its uplink, and containers on it."""

    def __init__(self, make: Callable[[], str], folder: Path) -> None:
        self.make = make
        self.host, self.outside = make(), make()
        self.registry = f"sqlite://{folder}/registry.db"
        self.log = folder / "agent.log"
        self.agent: subprocess.Popen[bytes] | None = None
        self.running: list[subprocess.Popen[bytes]] = []
        self.inside(self.host, f"ip link add eth0 type veth peer name out netns {self.outside}")
        for netns, link, address in (
            (self.host, "eth0", HOST_IP),
            (self.outside, "out", OUTSIDE_IP),
        ):
            self.inside(netns, f"ip address add {address}/24 dev {link}")
            self.inside(netns, f"ip link set {link} up")
        self.inside(self.host, f"ip route add default via {OUTSIDE_IP}")

    @staticmethod
    def enter(netns: str) -> list[str]:
        """Not ``ip netns exec``: that would hide namespaces made later."""
        return ["nsenter", f"--net=/run/netns/{netns}"]

    def inside(self, netns: str, command: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self.enter(netns), *command.split()], capture_output=True, text=True, timeout=60
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start_agent(self) -> None:
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                [*self.enter(self.host), sys.executable, "-m", "snnet", "agent", "--node", "host",
                 "--registry", self.registry],
                stdout=log, stderr=log,
            )  # fmt: skip

    def end_agent(self, number: signal.Signals) -> None:
        assert self.agent is not None
        self.agent.send_signal(number)
        self.agent.wait(30)
        self.agent = None

    def snnet(self, line: str, code: int = 0) -> str:
        done = subprocess.run(
            [*self.enter(self.host), sys.executable, "-m", "snnet", *line.split()],
            env={**os.environ, "SNNET_REGISTRY": self.registry},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, f"{line}: {done.stdout}{done.stderr}{self.log.read_text()}"
        return done.stdout

    def json(self, line: str) -> Any:
        return json.loads(self.snnet(f"{line} --json"))

    def container(self, name: str) -> str:
        """A container on network "web": its namespace."""
        self.snnet(f"vnic create {name} --network web --role container --node host")
        netns = self.make()
        self.snnet(f"vnic attach {name} --netns {netns}")
        return netns

    def reaches(self, netns: str, target: str, patience: float = 10.0) -> bool:
        """Whether a ping is answered in time."""
        end = time.monotonic() + patience
        while True:
            if "1 received" in self.inside(netns, f"ping -c 1 -W 1 {target}", check=False):
                return True
            if time.monotonic() > end:
                return False

    def serve(self, netns: str, ip: str, port: int) -> None:
        server = subprocess.Popen(
            [*self.enter(netns), sys.executable, "-c", SERVER, ip, str(port)],
            stdout=subprocess.PIPE,
        )
        self.running.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"

    def ask(self, netns: str, ip: str, port: int) -> str:
        """Whom the server saw; "" where nobody answers."""
        done = subprocess.run(
            [*self.enter(netns), sys.executable, "-c", ASK, ip, str(port)],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        return done.stdout.strip()

    def links(self) -> set[str]:
        found = json.loads(self.inside(self.host, "ip -json link"))
        return {link["ifname"] for link in found}

    def until(self, holds: Callable[[], bool], patience: float = 30.0) -> float:
        """Wait until something holds; return how many seconds that took."""
        start = time.monotonic()
        while not holds():
            assert time.monotonic() - start < patience, self.log.read_text()
            time.sleep(0.05)
        return time.monotonic() - start

    def close(self) -> None:
        for process in (*self.running, *([self.agent] if self.agent else [])):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def lan(make_netns: Callable[[], str], tmp_path: Path) -> Iterator[Lan]:
    for program in ("nft", "dnsmasq", "ping", "nsenter"):
        if find_program(program) is None:
            pytest.skip(f"{program} is not installed")
    lan = Lan(make_netns, tmp_path)
    lan.start_agent()
    lan.until(lambda: '"ready"' in lan.snnet("node list --json"))
    yield lan
    if lan.agent is None:
        lan.start_agent()
    lan.snnet("network delete web --force")
    lan.until(lambda: lan.links() <= {"lo", "eth0"})
    lan.close()


def test_containers_reach_each_other_the_outside_and_are_reached(lan: Lan) -> None:
    """The page "one host": network, containers, NAT and a forward, typed as a user would."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one, two = lan.container("c1"), lan.container("c2")
    assert lan.reaches(one, "10.1.0.3")
    assert lan.reaches(one, "10.1.0.1")
    assert lan.reaches(one, OUTSIDE_IP)
    assert not lan.reaches(one, HOST_IP, patience=0)
    lan.serve(lan.outside, OUTSIDE_IP, 7000)
    assert lan.ask(one, OUTSIDE_IP, 7000) == HOST_IP, "the host translates"
    lan.serve(two, "10.1.0.3", 80)
    lan.snnet("forward create --network web --port 8080 --to c2 --to-port 80")
    assert lan.ask(lan.outside, HOST_IP, 8080) == OUTSIDE_IP
    lan.snnet("forward delete tcp-8080")
    lan.until(lambda: lan.ask(lan.outside, HOST_IP, 8080) == "")


def test_the_data_plane_outlives_the_agent_and_heals_with_the_next(lan: Lan) -> None:
    """Killed, the agent leaves all as it is; what is broken meanwhile the next one repairs."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one, _ = lan.container("c1"), lan.container("c2")
    assert lan.reaches(one, "10.1.0.3")
    lan.end_agent(signal.SIGKILL)
    assert lan.reaches(one, "10.1.0.3")
    assert lan.reaches(one, OUTSIDE_IP)
    lan.inside(lan.host, "nft flush ruleset")
    link = lan.json("vnic show c2")["link_name"]
    lan.inside(lan.host, f"ip link set {link} nomaster")
    assert not lan.reaches(one, "10.1.0.3", patience=0)
    lan.start_agent()
    lan.until(lambda: lan.reaches(one, "10.1.0.3") and lan.reaches(one, OUTSIDE_IP))


BREAKAGES = (
    "nft flush ruleset",
    "ip link set {link} nomaster",
    "ip link set {link} down",
    "ip link set {bridge} down",
    "sysctl -qw net.ipv4.ip_forward=0",
)


def test_drift_is_healed_soon(lan: Lan) -> None:
    """What the kernel tells of is put right at once: within a second on an idle machine."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one = lan.container("c1")
    assert lan.reaches(one, OUTSIDE_IP)
    link = lan.json("vnic show c1")["link_name"]
    (found,) = json.loads(lan.inside(lan.host, f"ip -json link show dev {link}"))
    before = _rules(lan)

    def healed() -> bool:
        (now,) = json.loads(lan.inside(lan.host, f"ip -json link show dev {link}"))
        return (
            now.get("master") == found["master"]
            and {"UP", "LOWER_UP"} <= {*now["flags"]}
            and lan.inside(lan.host, "sysctl -n net.ipv4.ip_forward").strip() == "1"
            and _rules(lan) == before
        )

    for breakage in BREAKAGES:
        lan.inside(lan.host, breakage.format(link=link, bridge=found["master"]))
        assert lan.until(healed) < 10, breakage
        assert lan.reaches(one, OUTSIDE_IP), breakage


def _rules(lan: Lan) -> list[str]:
    """The tables of the host, without counters and what is learned."""
    return sorted(
        line for line in lan.inside(lan.host, "nft -s list tables").splitlines() if line.strip()
    )


def test_dnsmasq_is_started_again(lan: Lan) -> None:
    lan.snnet("network create web --subnet 10.1.0.0/24")
    netns = lan.json("network show web")["netns"]

    def server() -> int | None:
        pids = lan.inside(lan.host, f"ip netns pids {netns}").split()
        for pid in pids:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "dnsmasq":
                return int(pid)
        return None

    lan.until(lambda: server() is not None)
    first = server()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    lan.until(lambda: server() not in (None, first))
    # Deleted while no agent runs: the next one ends the server with its namespace.
    last = server()
    assert last is not None
    lan.end_agent(signal.SIGKILL)
    lan.snnet("network delete web")
    lan.start_agent()
    lan.until(lambda: not Path(f"/proc/{last}").exists())
