"""A cluster of three etcd members on loopback, which tests kill, pause and start again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOOL = Path(__file__).parents[2] / "tools" / "etcd"


def binary() -> str | None:
    """The path of etcd, or None where it can neither be found nor unpacked."""
    done = subprocess.run([TOOL], capture_output=True, text=True, check=False, timeout=120)
    return done.stdout.strip() if done.returncode == 0 else None


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Members:
    """Three members; they run from ``start`` to ``kill``.

    They are on loopback, or with ``spaces`` in these network namespaces, with ``hosts`` as their
    addresses.
    """

    def __init__(
        self,
        etcd: str,
        folder: Path,
        *arguments: str,
        scheme: str = "http",
        hosts: Sequence[str] = ("127.0.0.1",) * 3,
        spaces: Sequence[str] = (),
    ) -> None:
        self._etcd = etcd
        self._folder = folder
        self._arguments = arguments
        self._scheme = scheme
        self._hosts, self._spaces = hosts, spaces
        ports = [2379] * 3 + [2380] * 3 if spaces else free_ports(6)
        self.clients, self._peers = ports[:3], ports[3:]
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def url(self, namespace: str, members: Sequence[int] = (0, 1, 2)) -> str:
        """What follows "etcd:" in the URL."""
        hosts = ",".join(f"{self._hosts[member]}:{self.clients[member]}" for member in members)
        return f"//{hosts}/{namespace}"

    def start(self, *members: int) -> None:
        """Start these members, all without any."""
        peers = [
            f"http://{host}:{port}" for host, port in zip(self._hosts, self._peers, strict=True)
        ]
        cluster = ",".join(f"m{n}={peer}" for n, peer in enumerate(peers))
        for member in members or range(3):
            client, peer = self._client(member), peers[member]
            listens = f"{self._scheme}://0.0.0.0:{self.clients[member]}" if self._spaces else client
            space = ["ip", "netns", "exec", self._spaces[member]] if self._spaces else []
            with open(self._folder / f"m{member}.log", "ab") as log:
                self._running[member] = subprocess.Popen(
                    [
                        *(*space, self._etcd, "--name", f"m{member}"),
                        *("--data-dir", str(self._folder / f"m{member}")),
                        *("--listen-client-urls", listens, "--advertise-client-urls", client),
                        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                        *("--initial-cluster", cluster, *self._arguments),
                    ],
                    stdout=log,
                    stderr=log,
                )

    def _client(self, member: int) -> str:
        return f"{self._scheme}://{self._hosts[member]}:{self.clients[member]}"

    def kill(self, *members: int) -> None:
        """Kill these members with SIGKILL, all without any."""
        for member in members or list(self._running):
            process = self._running.pop(member)
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def running(self, member: int) -> bool:
        return member in self._running

    def pause(self, member: int) -> None:
        os.kill(self._running[member].pid, signal.SIGSTOP)

    def resume(self, member: int) -> None:
        os.kill(self._running[member].pid, signal.SIGCONT)

    def leader(self, within: float = 30.0) -> int:
        """Wait until the members that run have a leader; return its number."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for member in self._running:
                status = self._status(member)
                if status.get("leader", "0") not in ("0", 0) and (
                    status["leader"] == status["header"]["member_id"]
                ):
                    return member
            time.sleep(0.1)
        raise AssertionError(f"no leader; see the logs in {self._folder}")

    def _status(self, member: int) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._client(member)}/v3/maintenance/status", b"{}", method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=1) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}
