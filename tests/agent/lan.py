"""A host with a real agent, in a network namespace, and what is around it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        self.registry = f"sqlite://{folder}/registry.db"
        self.log = folder / "agent.log"
        self.agent: subprocess.Popen[bytes] | None = None
        self.running: list[subprocess.Popen[bytes]] = []
        self.outside = make()
        self.host = ""
        self.boot()

    def boot(self) -> None:
        """Have the host, with its uplink."""
        self.host = self.make()
        self.wire()

    def wire(self) -> None:
        """Connect the host with the outside."""
        self.inside(self.outside, f"ip link add out type veth peer name eth0 netns {self.host}")
        for netns, link, address in (
            (self.host, "eth0", HOST_IP),
            (self.outside, "out", OUTSIDE_IP),
        ):
            self.inside(netns, f"ip address add {address}/24 dev {link}")
            self.inside(netns, f"ip link set {link} up")
        self.inside(self.host, f"ip route add default via {OUTSIDE_IP}")

    def enter(self, netns: str) -> list[str]:
        """Not ``ip netns exec``: that would hide namespaces made later."""
        return ["nsenter", f"--net=/run/netns/{netns}"]

    def run(self, netns: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a namespace, with the registry of this host."""
        return subprocess.run(
            [*self.enter(netns), *argv],
            env=self.environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def inside(self, netns: str, command: str, check: bool = True) -> str:
        done = self.run(netns, *command.split())
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start_agent(self, *options: str) -> None:
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                [*self.enter(self.host), sys.executable, "-m", "snnet", "agent", "--node", "host",
                 "--registry", self.registry, *options],
                stdout=log, stderr=log,
            )  # fmt: skip

    def end_agent(self, number: signal.Signals) -> None:
        assert self.agent is not None
        self.agent.send_signal(number)
        self.agent.wait(30)
        self.agent = None

    def environment(self) -> dict[str, str]:
        """A user's, with ``snnet`` installed and the registry of this host."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "SNNET_REGISTRY": self.registry}

    def try_snnet(self, line: str) -> subprocess.CompletedProcess[str]:
        """Type a command on the host."""
        return self.run(self.host, sys.executable, "-m", "snnet", *shlex.split(line))

    def snnet(self, line: str, code: int = 0) -> str:
        done = self.try_snnet(line)
        assert done.returncode == code, f"{line}: {done.stdout}{done.stderr}{self.log.read_text()}"
        return done.stdout

    def json(self, line: str) -> Any:
        return json.loads(self.snnet(f"{line} --json"))

    def container(self, name: str) -> str:
        """A container on network "web": its namespace."""
        self.snnet(f"vnic create {name} --network web --role container --node host")
        netns = self.namespace(name)
        self.snnet(f"vnic attach {name} --netns {netns}")
        return netns

    def namespace(self, name: str) -> str:
        """A network namespace on the host."""
        return self.make()

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
        done = self.run(netns, sys.executable, "-c", ASK, ip, str(port))
        return done.stdout.strip()

    def links(self) -> set[str]:
        found = json.loads(self.inside(self.host, "ip -json link"))
        return {link["ifname"] for link in found}

    def until(
        self,
        holds: Callable[[], bool],
        patience: float = 30.0,
        explain: Callable[[], str] = lambda: "",
    ) -> float:
        """Wait until something holds; return how many seconds that took."""
        start = time.monotonic()
        while not holds():
            waited = time.monotonic() - start
            assert waited < patience, explain() + self.log.read_text()
            time.sleep(0.05)
        return time.monotonic() - start

    def close(self) -> None:
        for process in (*self.running, *([self.agent] if self.agent else [])):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
