"""The plugin's life: init, start, stop, close, in any order and again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import snnet
from snnet.cli import docker_plugin
from snnet.contract import Conflict, DriverNotFound, InvalidRequest, Put, SnnetError
from snnet.docker import DockerPlugin, Tls, server
from snnet.docker import plugin as plugin_part
from snnet.docker.gate import Gate
from snnet.registries.memory import MemoryRegistry
from snnet.registries.sqlite import SqliteRegistry

from .client import GATEWAY, Client, Connection
from .conftest import CONFIG, ENDPOINT, IPAM_OPTIONS, NETWORK, OPTIONS, Make, free_port


def answers(folder: Path) -> bool:
    try:
        return Client(folder / "snnet.sock").ask("NetworkDriver.GetCapabilities") != {}
    except OSError:
        return False


def test_everything_may_be_repeated(make: Make, folder: Path) -> None:
    plugin = make()
    plugin.close()
    for step in (plugin.init, plugin.start, plugin.stop, plugin.start, plugin.close):
        for _ in range(2):
            step()
        assert answers(folder) == (step == plugin.start)
        assert (folder / "snnet.sock").exists() == (step == plugin.start)
    plugin.init()
    plugin.close()
    assert sorted(os.listdir(folder)) == ["data"]
    assert os.listdir(folder / "data") == ["registry.db"]


def test_a_socket_that_somebody_removed_is_made_again(make: Make, folder: Path) -> None:
    plugin = make()
    plugin.init()
    plugin.start()
    first = (folder / "snnet.sock").stat().st_ino
    plugin.start()
    assert (folder / "snnet.sock").stat().st_ino == first, "it serves: nothing to do"
    (folder / "snnet.sock").unlink()
    assert not answers(folder)
    plugin.start()
    assert answers(folder)
    plugin.close()
    assert not (folder / "snnet.sock").exists()


def test_a_request_under_way_ends_though_its_socket_is_gone(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, go = threading.Event(), threading.Event()
    plugin = make()
    plugin.init()
    plugin.start()
    create = plugin._node.plan_create_vnic

    def slowly(*arguments: Any, **more: Any) -> Any:
        there.set()
        assert go.wait(30)
        return create(*arguments, **more)

    docker = Client(folder / "snnet.sock")
    docker.address(docker.make_pool(**IPAM_OPTIONS), **GATEWAY)
    monkeypatch.setattr(plugin._node, "plan_create_vnic", slowly)
    with ThreadPoolExecutor(1) as beside:
        made = beside.submit(docker.create_network, NETWORK, OPTIONS)
        assert there.wait(30)
        (folder / "snnet.sock").unlink()
        plugin.start()
        assert answers(folder), "the next one does not wait for it"
        go.set()
        made.result(30)


def test_a_server_whose_thread_has_ended_is_started_again(make: Make, folder: Path) -> None:
    plugin = make()
    plugin.init()
    plugin.start()
    server = plugin._server
    assert server is not None
    assert server._server is not None
    assert server._thread is not None
    server._server.should_exit = True
    server._thread.join(30)
    assert not answers(folder)
    plugin.start()
    assert answers(folder)


def test_a_server_that_accepts_nothing_any_more_is_started_again(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Gate) -> None:
        raise RuntimeError

    room = Gate.room
    monkeypatch.setattr(Gate, "room", broken)
    plugin = make()
    plugin.init()
    with contextlib.suppress(SnnetError):  # it may end before it is seen to have started
        plugin.start()
    monkeypatch.setattr(Gate, "room", room)
    if plugin._server is not None and (thread := plugin._server._thread) is not None:
        thread.join(30)
        assert not thread.is_alive()
    plugin.start()
    assert answers(folder)


def test_another_plugin_that_took_the_socket_keeps_it(make: Make, folder: Path) -> None:
    plugin = make()
    plugin.init()
    plugin.start()
    (folder / "snnet.sock").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(folder / "snnet.sock"))
        other.listen()
        for _ in range(2):
            with pytest.raises(Conflict, match="another plugin answers"):
                plugin.start()
    (folder / "snnet.sock").unlink()
    plugin.start()
    assert answers(folder)


def test_start_comes_after_init(make: Make) -> None:
    plugin = make()
    with pytest.raises(InvalidRequest, match=r"plugin snnet is not ready: call init\(\) first"):
        plugin.start()
    plugin.stop()


def test_the_node_comes_first(folder: Path) -> None:
    with snnet.ComputeNode("cn-1", CONFIG, backend="fake", firewall="fake") as node:
        plugin = DockerPlugin(node, folder=folder, data_dir=folder / "data")
        with pytest.raises(InvalidRequest, match=r"not ready: call init\(\) first"):
            plugin.init()
        node.init()
        plugin.init()
        plugin.close()
    assert not (folder / "data" / "lock").exists()


def test_a_read_only_node_makes_no_vnics(folder: Path) -> None:
    with snnet.ComputeNode("cn-1", CONFIG, backend="fake", firewall="fake", read_only=True) as node:
        node.init()
        with pytest.raises(InvalidRequest, match=r"node: .* read-only"):
            DockerPlugin(node, folder=folder, registry=MemoryRegistry()).init()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "name: "),
        ({"name": "a/b"}, "name: "),
        ({"name": "Upper"}, "name: "),
        ({"registry": 3}, "registry: 3 is neither the URL of a registry nor a Registry"),
        ({"address": "127.0.0.1:9999"}, "tls: is needed for a TCP address"),
        ({"tls": Tls(*[Path("x")] * 5)}, "tls: is only for a TCP address"),
        ({"tls": Tls(*[Path("x")] * 5), "address": "nowhere"}, "address: 'nowhere' is not"),
        ({"tls": Tls(*[Path("x")] * 5), "address": "h:²"}, "address: 'h:²' is not"),
        ({"tls": Tls(*[Path("x")] * 5), "address": 99}, "address: 99 is not"),
        ({"folder": "/" + "x" * 120}, "folder: "),
        ({"folder": 3}, "folder: 3 is not a path"),
        ({"data_dir": b"x"}, "data_dir: b'x' is not a path"),
    ],
)
def test_arguments_that_are_wrong(make: Make, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make(**options)
    assert str(refused.value).startswith(said)


def test_no_node_at_all() -> None:
    with pytest.raises(InvalidRequest, match="node: 3 is not a ComputeNode"):
        DockerPlugin(3)  # type: ignore[arg-type]


def test_a_registry_by_url(make: Make) -> None:
    with pytest.raises(DriverNotFound, match="no registry 'zookeeper' is installed"):
        make(registry="zookeeper:").init()
    with pytest.raises(InvalidRequest, match="'memory' is not the URL of a registry"):
        make(registry="memory").init()
    make(registry="memory:").init()


def test_a_registry_of_the_callers_stays_open(make: Make, folder: Path) -> None:
    """Its other documents stay as they are."""
    with SqliteRegistry(f"//{folder}/registry.db") as registry:
        registry.commit([Put("docker/cn-2/snnet/pools/p", {"not": "ours"})])
        plugin = make(registry=registry)
        plugin.init()
        plugin.start()
        pool = Client(folder / "snnet.sock").make_pool(**IPAM_OPTIONS)
        plugin.close()
        assert set(registry.read("").entries) == {
            "docker/cn-2/snnet/pools/p",
            f"docker/cn-1/snnet/pools/{pool}",
        }
    assert not (folder / "data").exists()


def test_the_socket(make: Make, folder: Path) -> None:
    """It takes the place of a killed one's, and is for root alone."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "snnet.sock"))
    plugin = make()
    plugin.init()
    plugin.start()
    assert plugin.address == f"unix://{folder}/snnet.sock"
    assert stat.S_IMODE((folder / "snnet.sock").stat().st_mode) == 0o600
    assert sorted(os.listdir(folder)) == ["data", "snnet.sock"]
    # Neither another plugin nor a child of ours takes it away.
    second = make(data_dir=folder / "other")
    second.init()
    with pytest.raises(Conflict, match="another plugin answers at"):
        second.start()
    second.close()
    child = os.fork()
    if child == 0:
        plugin.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert answers(folder)
    assert (folder / "data" / "lock").exists()
    # A connection that is kept does not keep it from ending.
    connection = Connection(folder / "snnet.sock")
    connection.request("POST", "/NetworkDriver.GetCapabilities")
    connection.getresponse().read()
    plugin.stop()
    connection.close()


def test_what_is_no_socket_stays(make: Make, folder: Path) -> None:
    (folder / "snnet.sock").write_text("precious")
    plugin = make()
    plugin.init()
    with pytest.raises(Conflict, match="is not a socket: remove it"):
        plugin.start()
    plugin.close()
    assert (folder / "snnet.sock").read_text() == "precious"


def test_one_database_for_one_process(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnet.docker.plugin._LOCK_TIMEOUT", 0.05)
    make().init()
    second = make(name="other", folder=folder)
    with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
        second.init()


def test_a_damaged_database_is_named(make: Make, folder: Path) -> None:
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "snnet.db").write_text("nothing that SQLite would know, and rather long")
    with pytest.raises(SnnetError, match=r"cannot read the database .*snnet.db: file is not"):
        make().init()
    (folder / "data" / "snnet.db").unlink()
    (folder / "data" / "registry.db").write_text("nothing that SQLite would know, and rather long")
    with pytest.raises(SnnetError, match="is damaged"):
        make().init()
    registry = MemoryRegistry()
    registry.commit([Put("docker/cn-1/snnet/pools/p", {"id": "p", "subnet": "nonsense"})])
    with pytest.raises(
        SnnetError, match=r"cannot read the document 'docker/cn-1/snnet/pools/p' .*: tenant_id: "
    ):
        make(registry=registry).init()


@pytest.mark.parametrize("missing", ["folder", "data_dir"])
def test_folders_that_cannot_be_made(make: Make, folder: Path, missing: str) -> None:
    (folder / "file").write_text("")
    plugin = make(**{missing: folder / "file" / "x"})

    def start() -> None:
        plugin.init()
        plugin.start()

    with pytest.raises(SnnetError, match=r"cannot (create|listen at) "):
        start()
    plugin.close()


def test_tcp_has_a_spec_file_and_asks_for_a_certificate(make: Make, folder: Path, tls: Tls) -> None:
    port = free_port()
    plugin = make(address=f"127.0.0.1:{port}", tls=tls, spec_folder=folder / "specs")
    plugin.init()
    plugin.start()
    spec = json.loads((folder / "specs" / "snnet.json").read_text())
    assert spec == {
        "Name": "snnet",
        "Addr": f"https://127.0.0.1:{port}",
        "TLSConfig": {
            "InsecureSkipVerify": False,
            "CAFile": str(tls.ca),
            "CertFile": str(tls.client_cert),
            "KeyFile": str(tls.client_key),
        },
    }

    def ask(context: ssl.SSLContext) -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
        try:
            connection.request("POST", "/Plugin.Activate")
            return connection.getresponse().status
        finally:
            connection.close()

    context = ssl.create_default_context(cafile=str(tls.ca))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(context)
    context.load_cert_chain(tls.client_cert, tls.client_key)
    assert ask(context) == 200
    plain = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    plain.request("POST", "/Plugin.Activate")
    with pytest.raises((OSError, http.client.HTTPException)):
        plain.getresponse()
    plain.close()
    # A file that somebody removed is written again.
    (folder / "specs" / "snnet.json").unlink()
    plugin.start()
    assert json.loads((folder / "specs" / "snnet.json").read_text()) == spec
    assert ask(context) == 200
    # Another one at the same address does not take the file away.
    second = make(
        address=f"127.0.0.1:{port}", tls=tls, spec_folder=folder / "specs", data_dir=folder / "two"
    )
    second.init()
    with pytest.raises(Conflict, match=r"cannot listen at https://127.0.0.1"):
        second.start()
    second.close()
    assert os.listdir(folder / "specs") == ["snnet.json"]
    plugin.stop()
    assert os.listdir(folder / "specs") == []


def test_a_spec_file_that_cannot_be_written(make: Make, folder: Path, tls: Tls) -> None:
    (folder / "specs" / "snnet.json").mkdir(parents=True)
    plugin = make(address=f"127.0.0.1:{free_port()}", tls=tls, spec_folder=folder / "specs")
    plugin.init()
    with pytest.raises(Conflict, match=r"snnet.json is a folder: remove it"):
        plugin.start()
    plugin.close()
    assert os.listdir(folder / "specs") == ["snnet.json"]
    plugin.init()


def test_files_that_are_not_certificates(make: Make, folder: Path, tls: Tls) -> None:
    tls.key.write_text("no key")
    plugin = make(address=f"127.0.0.1:{free_port()}", tls=tls, spec_folder=folder / "specs")
    plugin.init()
    with pytest.raises(SnnetError, match="cannot use the certificates"):
        plugin.start()
    assert os.listdir(folder / "specs") == []


def test_a_stop_gives_the_last_requests_their_time() -> None:
    """systemd ends the service no earlier, and Docker has its answer."""
    assert docker_plugin.PATIENCE < server._LAST_REQUESTS
    unit = (Path(__file__).parents[2] / "contrib" / "snnet-docker-plugin.service").read_text()
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(limit) > server._LAST_REQUESTS + plugin_part._DRAIN_TIMEOUT


def test_a_request_under_way_keeps_the_registry_open(
    make: Make, folder: Path, node: snnet.ComputeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = make(registry=MemoryRegistry())
    plugin.init()
    plugin.start()
    monkeypatch.setattr("snnet.docker.server._TIMEOUT", 0.03)
    monkeypatch.setattr("snnet.docker.server._LAST_REQUESTS", 0.03)
    monkeypatch.setattr("snnet.docker.plugin._DRAIN_TIMEOUT", 0.03)
    docker = Client(folder / "snnet.sock")
    docker.address(docker.make_pool(**IPAM_OPTIONS), **GATEWAY)
    docker.create_network(NETWORK, OPTIONS)
    gate, there = threading.Event(), threading.Event()
    create_vnic = node.create_vnic

    def slow(cfg: snnet.VnicConfig) -> Any:
        there.set()
        gate.wait(30)
        return create_vnic(cfg)

    monkeypatch.setattr(node, "create_vnic", slow)

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            docker.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")

    thread = threading.Thread(target=ask)
    thread.start()
    there.wait(30)
    with pytest.raises(snnet.ApiError, match="still being carried out"):
        plugin.close()
    gate.set()
    thread.join()
    plugin.close()
