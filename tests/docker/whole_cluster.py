"""A whole cluster on this machine: hosts that can be switched off, their agents, etcd and Docker.

Each host has processes, mounts, /run and a network of its own (``tests.agent.machine``), so that
everything that is on it ends with it.  Users type commands on one of the hosts.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from snnet.contract import IPAddress
from snnet.lab.taps import Cables, open_tap
from snnet.system.namespaces import Namespace
from snnet.system.netns import netns_id
from tests.agent.machine import INIT, child_of

from .daemons import DOCKER, IMAGE, build_image

GATEWAY, OUTSIDE = "192.0.2.99", "198.51.100.1"
MEMBERS = ("192.0.2.31", "192.0.2.32", "192.0.2.33")
HOSTS = ("net-1", "net-2", "docker-1", "docker-2", "vm-1", "vm-2")
SESSION_TTL = 3
PATIENCE = 60.0

_FOLDERS = "mount -t tmpfs -o mode=755 docker /etc/docker && "
"""What Docker keeps in /etc is each daemon's own."""


class Space(Namespace):
    """A network namespace that something else keeps."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.id = netns_id(self.fd)


class Host:
    """A host that can be switched off."""

    def __init__(self, name: str, folder: Path, first: str = "") -> None:
        self.name, self.folder = name, folder
        self._power = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", first + INIT],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self._started: list[subprocess.Popen[bytes]] = []
        assert self._power.stdout is not None
        assert self._power.stdout.readline() == b"up\n"
        self.pid = child_of(self._power.pid)
        self.space = Space(name, f"/proc/{self.pid}/ns/net")

    @property
    def enter(self) -> list[str]:
        return ["nsenter", "--target", self.pid, "--net", "--mount", "--pid"]

    def start(self, what: str, *argv: str) -> None:
        with (self.folder / f"{self.name}-{what}.log").open("ab") as log:
            process = subprocess.Popen([*self.enter, *argv], stdout=log, stderr=log)
        self._started.append(process)

    def run(self, *argv: str, **env: str) -> str:
        done = subprocess.run(
            [*self.enter, *argv], env={**os.environ, **env}, capture_output=True, text=True,
            timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.name}: {shlex.join(argv)}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def docker(self, line: str) -> str:
        return self.run(DOCKER, *line.split())

    def power_off(self) -> None:
        """End everything on the host at once.  May be repeated."""
        self._power.kill()
        self._power.wait()
        assert self._power.stdout is not None
        self._power.stdout.close()
        for process in self._started:
            process.wait()
        self.space.close()


class WholeCluster:
    """Two network hosts, two with Docker, two for VMs; etcd; a wire, and what is outside."""

    def __init__(self, topology: str, etcd: str, folder: Path) -> None:
        self.topology, self.folder, self._etcd = topology, folder, etcd
        self.registry = f"etcd://{','.join(MEMBERS)}"
        self.hosts: dict[str, Host] = {}
        self.guests: dict[str, Space | Namespace] = {}
        self._open = ExitStack()
        self.cables = Cables()
        self._open.callback(self.cables.close)

    def __enter__(self) -> WholeCluster:
        try:
            self._build()
        except BaseException as error:
            self.__exit__(None, error)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is not None:
            error.add_note(self._logs())
        self._open.close()

    # -- set-up --------------------------------------------------------------------------

    def _build(self) -> None:
        self.outside = self._host("outside")
        self.outside.space.ip(
            ["link add wire type bridge", "link set wire up", f"address add {GATEWAY}/24 dev wire",
             f"address add {OUTSIDE}/32 dev lo"]
        )  # fmt: skip
        self._wire(self._host("etcd"), *MEMBERS)
        self._start_members()
        build_image(self.folder / "image.tar")
        for number, name in enumerate(HOSTS, 11):
            self.hosts[name] = host = self._host(name, _FOLDERS if "docker" in name else "")
            self._wire(host, f"192.0.2.{number}")
            host.space.ip([f"route add default via {GATEWAY}"])
            if "docker" in name:
                host.start(
                    "dockerd", "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false",
                    "--data-root", str(self.folder / name),
                )  # fmt: skip
        self.until(lambda: self.snnet("node list") is not None)
        for host in self.hosts.values():
            self.start_agent(host)
        self.until(lambda: len(self._ready()) == len(HOSTS))
        for host in self._dockers():
            self.until(lambda host=host: host.docker("version"))  # type: ignore[misc]
            host.docker(f"import {self.folder}/image.tar {IMAGE}")

    def _host(self, name: str, first: str = "") -> Host:
        host = Host(name, self.folder, first)
        self._open.callback(host.power_off)
        return host

    def _wire(self, host: Host, *addresses: str) -> None:
        peer = f"peer name eth0 netns {host.pid}"
        self.outside.space.ip([f"link add {host.name} up master wire type veth {peer}"])
        host.space.ip(
            ["link set eth0 up", *(f"address add {one}/24 dev eth0" for one in addresses)]
        )
        if host.name == "etcd":
            self._members_host = host

    def _start_members(self) -> None:
        peers = ",".join(f"m{ip[-1]}=http://{ip}:2380" for ip in MEMBERS)
        for ip in MEMBERS:
            client, peer = f"http://{ip}:2379", f"http://{ip}:2380"
            self._members_host.start(
                f"m{ip[-1]}", self._etcd, "--name", f"m{ip[-1]}",
                "--data-dir", f"/run/m{ip[-1]}",  # of the host, in memory
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", peers,
            )  # fmt: skip

    def start_agent(self, host: Host) -> None:
        network: dict[str, Any] = {
            "topology": self.topology,
            "compute_nets": ["192.0.2.0/24"],
            "management_nets": ["192.0.2.0/24"],
        }
        if self.topology == "hub":
            network |= {"tunnel": "vxlan", "concentrator_pool": ["192.0.2.21", "192.0.2.22"]}
        settings = {
            "node": host.name,
            "roles": ["network" if host.name.startswith("net") else "compute"],
            "registry": self.registry,
            "docker": host.name.startswith("docker"),
            "session_ttl": SESSION_TTL,
            "network": network,
        }
        path = self.folder / f"{host.name}.yaml"
        path.write_text(json.dumps(settings))  # which is YAML too
        host.start("agent", sys.executable, "-m", "snnet", "agent", "--config", str(path))

    def _ready(self) -> list[Any]:
        nodes = json.loads(self.snnet("node list --json"))
        return [node for node in nodes if node["compute_ip"] and node["state"] == "ready"]

    def _dockers(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.name.startswith("docker")]

    # -- what users do -------------------------------------------------------------------

    def snnet(self, line: str) -> str:
        """Type a command on a host."""
        argv = [sys.executable, "-m", "snnet", *shlex.split(line)]
        return self.hosts["vm-1"].run(*argv, SNNET_REGISTRY=self.registry)

    def vm(self, name: str, tenant: str, network: str, node: str) -> None:
        """Create a VNIC, and start a VM on it."""
        self.snnet(f"vnic create {name} --tenant {tenant} --network {network} --node {node}")
        known = json.loads(self.snnet(f"vnic show {name} --tenant {tenant} --json"))
        space = Namespace(name)
        self._open.callback(space.close)
        near = open_tap(self.hosts[node].space, known["link_name"])
        self.cables.join(near, open_tap(space, "eth0", known["mac"]))
        space.ip(["link set lo up", f"link set eth0 mtu {known['mtu']} up"])
        for ip in map(ip_address, known["ip"]):
            gateway = ip_address(int(ip) >> 8 << 8 | 1) if ip.version == 4 else _first(ip)
            nodad, length = (" nodad", 64) if ip.version == 6 else ("", 24)
            space.ip([f"address add {ip}/{length} dev eth0{nodad}"])
            space.ip([f"route replace default via {gateway} dev eth0"])
        self.guests[name] = space

    def container(self, name: str, node: str, network: str) -> None:
        """``docker run``."""
        host = self.hosts[node]
        host.docker(f"run -d --stop-signal KILL --name {name} --net {network} {IMAGE} sleep 1000")
        key = host.docker(f"inspect -f {{{{.NetworkSettings.SandboxKey}}}} {name}")
        space = Space(name, f"/proc/{host.pid}/root/run/{key.partition('/run/')[2]}")
        self._open.callback(space.close)
        self.guests[name] = space

    def addresses(self) -> dict[str, list[IPAddress]]:
        """The addresses of all guests, as their hosts have them."""
        found: dict[str, list[IPAddress]] = {}
        for name, space in self.guests.items():
            links = json.loads(space.call(_shown))
            found[name] = [
                ip_address(one["local"])
                for link in links
                for one in link["addr_info"]
                if one["scope"] == "global"
            ]
        return found

    def place(self, tenant: str) -> str:
        """The network host that has a tenant's concentrator."""
        netns = json.loads(self.snnet(f"network show web --tenant {tenant} --json"))["netns"]
        hosts = [host for name, host in self.hosts.items() if name.startswith("net")]
        (found,) = [host.name for host in hosts if netns in host.run("ip", "netns", "list").split()]
        return found

    def kill(self, name: str) -> None:
        """A host loses its power: nothing of it answers from now on."""
        self.outside.space.ip([f"link set {name} down"])
        self.hosts[name].power_off()

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds; a command that fails is tried again."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if holds():
                    return
                problem = AssertionError("it never came")
            except AssertionError as error:
                problem = error
            if time.monotonic() > end:
                raise problem
            time.sleep(0.1)

    def _logs(self) -> str:
        """The last words of everything that was started."""
        found = []
        for log in sorted(self.folder.glob("*.log")):
            with suppress(OSError):
                found.append(f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        return "\n".join(found)


def _first(ip: IPAddress) -> IPAddress:
    """The first address of its /64."""
    return ip_address(int(ip) >> 64 << 64 | 1)


def _shown() -> str:
    return subprocess.run(["ip", "-json", "address"], capture_output=True, text=True).stdout
