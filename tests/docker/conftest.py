"""A plugin beside a fake compute node, and Docker's side of it."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import snnet
from snnet.contract import Registry, Veth
from snnet.docker import DockerPlugin, Tls
from snnet.docker.app import protocol
from snnet.registries.memory import MemoryRegistry
from tests.node.world import UPLINKS, FakeWorld, vm

from .client import GATEWAY, Client, Direct, Docker

CONFIG = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
NETWORK, ENDPOINT = "a" * 64, "b" * 64
IPAM_OPTIONS = {"snnet.tenant": "t1", "snnet.subnet_id": "s1"}
OPTIONS = {
    "snnet.tenant": "t1",
    "snnet.subnet_key": "7",
    "snnet.concentrator_ip": "192.0.2.10",
}


class Host:
    """One fake host, whose plugin may be killed and started again."""

    client: Docker

    def __init__(
        self, kernel: snnet.FakeKernel | None = None, node_id: str = "cn-1", **settings: Any
    ) -> None:
        self.node_id = node_id
        self.world = FakeWorld("gre")
        if kernel is not None:
            kernel.add_uplink("eth0", UPLINKS[4])
            self.world.kernel = kernel
        self.kernel = self.world.kernel
        self.config = self.world.config(**settings)
        self.empty = self.kernel.to_text()
        self.registry: Registry = MemoryRegistry()
        self.now = 1_000_000.0
        self.start()

    def start(self) -> None:
        """A new process, as far as the host can tell."""
        self.node = self.world.node(self.node_id, config=self.config)
        self.client = Direct(protocol(self.registry, self.prefix, self.node, lambda: self.now))

    def stop(self) -> None:
        self.node.close()

    def restart(self) -> None:
        """As after a kill: nothing was told goodbye."""
        self.stop()
        self.start()

    def text(self) -> str:
        """All that the host and the registry hold."""
        tables = ("pools", "addresses", "networks", "endpoints")
        return self.kernel.to_text() + "".join(
            f"\n{table}: {self.documents(table)}" for table in tables
        )

    @property
    def prefix(self) -> str:
        return f"docker/{self.node_id}/snnet/"

    def documents(self, table: str) -> dict[str, dict[str, Any]]:
        prefix = f"{self.prefix}{table}/"
        entries = self.registry.read(prefix).entries
        return {key.removeprefix(prefix): dict(entry.document) for key, entry in entries.items()}

    @property
    def endpoints(self) -> dict[str, dict[str, Any]]:
        return self.documents("endpoints")

    @property
    def addresses(self) -> dict[str, str]:
        """Holders of addresses."""
        documents = self.documents("addresses").values()
        return {str(document["ip"]): str(document["holder"]) for document in documents}

    def make_vm(self, ip: str) -> None:
        """A VNIC of somebody else's on the subnet."""
        hub = "192.0.2.10"
        self.node.create_vnic(
            vm(vnic_id="vm", ip=ip, concentrator_id=hub, concentrator_ip=hub, subnet_key=7)
        )

    def move_away(self, ip: str) -> None:
        """Move the container's end of the veth that has this address, as Docker does."""
        vnic = next(vnic for vnic in self.node.topology().vnics if str(vnic.ip) == ip)
        near = self.kernel.find(vnic.link)
        assert isinstance(near, Veth)
        self.kernel.links.take_peer(near)

    def network(self, inner: str = "", **options: str) -> str:
        """What ``docker network create`` makes of them; the pool's id."""
        pool = self.client.make_pool(inner=inner, **IPAM_OPTIONS)
        self.client.address(pool, **GATEWAY)
        self.client.create_network(NETWORK, OPTIONS | options)
        return pool


class Served(Host):
    """One whose plugin is spoken to over its socket."""

    client: Client

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        super().__init__(**options)

    def start(self) -> None:
        super().start()
        self.plugin = DockerPlugin(self.node, folder=self.folder, registry=self.registry)
        self.plugin.init()
        self.plugin.start()
        self.client = Client(self.folder / "snnet.sock")

    def stop(self) -> None:
        self.plugin.close()
        super().stop()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    # A Unix socket's path has 107 bytes at most, and pytest's own folders are long.
    folder = Path(tempfile.mkdtemp(prefix="snnet-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def node() -> Iterator[snnet.ComputeNode]:
    with snnet.ComputeNode("cn-1", CONFIG, backend="fake", firewall="fake") as node:
        node.init()
        yield node


Make = Callable[..., DockerPlugin]


@pytest.fixture
def make(node: snnet.ComputeNode, folder: Path) -> Iterator[Make]:
    """Makes plugins in the folder, and closes them."""
    made = []

    def make(**options: Any) -> DockerPlugin:
        options = {"folder": folder, "data_dir": folder / "data", **options}
        made.append(DockerPlugin(node, **options))
        return made[-1]

    yield make
    for plugin in made:
        plugin.close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(folder: Path, authority: trustme.CA) -> Tls:
    authority.cert_pem.write_to_path(str(folder / "ca"))
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}-cert"))
        issued.private_key_pem.write_to_path(str(folder / f"{name}-key"))
    return Tls(
        ca=folder / "ca",
        cert=folder / "server-cert",
        key=folder / "server-key",
        client_cert=folder / "client-cert",
        client_key=folder / "client-key",
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
