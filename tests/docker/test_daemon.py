"""Containers of real Docker daemons."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

import snnet
from snnet.docker import DockerPlugin
from tests.docker.daemons import IMAGE, DataCentre, Machine, data_centre, options
from tests.sample import docker_alone

pytestmark = pytest.mark.kernel

NOTHING: dict[str, int] = {}
SLEEP = ("sleep", "1000")
ONE_CONTAINER = {"pools": 1, "networks": 1, "addresses": 2, "endpoints": 1}


@pytest.fixture(scope="module")
def centre() -> Iterator[DataCentre]:
    if shutil.which("dockerd") is None:
        pytest.skip("needs docker.io: make test-kernel installs it")
    with docker_alone(), data_centre(Path(tempfile.mkdtemp(prefix="snnet-docker-"))) as centre:
        yield centre


@pytest.fixture(scope="module")
def machines(centre: DataCentre) -> tuple[Machine, Machine]:
    return centre.add("a"), centre.add("b")


@pytest.fixture
def machine(machines: tuple[Machine, Machine]) -> Iterator[Machine]:
    """One with a network ``web``; afterwards nothing may be left of it."""
    machine = machines[0]
    machine.docker("network", "create", *options(), "web")
    yield machine
    if left := machine.docker("ps", "-aq"):
        machine.docker("rm", "-f", *left.split())
    machine.docker("network", "rm", "web")
    assert machine.promises() == NOTHING
    assert machine.links() == set()


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def test_tenants_on_two_nodes(centre: DataCentre, machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    config = snnet.NetworkConfig.from_yaml(centre.config)
    first, second = options("t1", 7), options("t2", 8)
    for number, machine in enumerate(machines):
        inner = ["--ip-range", f"10.1.0.{64 * (number + 1)}/26"]
        machine.docker("network", "create", *first, *inner, "web")
        machine.docker("network", "create", *second, *inner, "other")
    one, two = a.run("one", "--dns", "10.1.0.1"), b.run("two")
    a.run("three", "--ip", two, network="other")
    with snnet.Cnci("cnci-1", config, tenant_id="t1", netns=centre.hub.fd) as cnci:
        cnci.init()
        for event in a.events + b.events:
            if event["tenant_id"] == "t1":
                cnci.add_remote_subnet(event["subnet"], event["subnet_key"], event["cn_ip"])
        cnci.dhcp("10.1.0.0/24").add_entry("10.1.0.9", hostname="db")
        assert (one, two) == ("10.1.0.64", "10.1.0.128")
        assert a.pings("one", two)
        assert b.pings("two", one)
        assert a.pings("one", "10.1.0.1")
        assert "10.1.0.9" in a.docker("exec", "one", "nslookup", "-type=a", "db")
        # A packet of the whole MTU goes through.
        assert a.docker("exec", "one", "ping", "-c1", "-W2", "-s", str(1450 - 28), two)
        # The other tenant has an address of ours, and reaches neither us nor our gateway.
        assert a.address_of("three") == two
        assert not a.pings("three", one)
        assert not a.pings("three", "10.1.0.1")
        text = a.docker("exec", "one", "ip", "address", "show", "eth0")
        assert f"inet {one}/24" in text
        assert f"link/ether {snnet.mac_for(one)}" in text
        assert "mtu 1450" in text
        assert a.docker("exec", "one", "ip", "route").startswith("default via 10.1.0.1 dev eth0")
        for machine in machines:
            machine.docker("rm", "-f", *machine.docker("ps", "-aq").split())
            machine.docker("network", "rm", "web", "other")
            assert machine.promises() == NOTHING
            assert machine.links() == set()
        gone = [(event["tenant_id"], event["type"]) for event in a.events]
        assert sorted(gone) == [("t1", "add"), ("t1", "del"), ("t2", "add"), ("t2", "del")]
        cnci.shutdown()


@pytest.fixture
def dual(machines: tuple[Machine, Machine]) -> Iterator[Machine]:
    """A machine with a network ``dual`` of both families."""
    machine = machines[0]
    machine.docker("network", "create", *options(), "--ipv6", "--subnet", "fd00:1::/64", "dual")
    yield machine
    if left := machine.docker("ps", "-aq"):
        machine.docker("rm", "-f", *left.split())
    machine.docker("network", "rm", "dual")
    assert machine.promises() == NOTHING
    assert machine.links() == set()


def test_containers_have_an_address_of_each_family(dual: Machine) -> None:
    assert dual.run("one", network="dual") == "10.1.0.2"
    dual.run("two", "--ip6", "fd00:1::77", network="dual")
    shown = dual.docker("exec", "one", "ip", "-6", "address", "show", "dev", "eth0")
    assert "fd00:1::2/64" in shown
    route = dual.docker("exec", "one", "ip", "-6", "route")
    assert "default via fd00:1::1 dev eth0" in route
    assert dual.pings("one", "10.1.0.3")
    until(lambda: dual.pings("one", "fd00:1::77"), 10)
    assert dual.pings("two", "fd00:1::2")


def test_addresses_asked_for(machine: Machine) -> None:
    assert machine.run("one") == "10.1.0.2"
    mac = "02:aa:bb:cc:dd:ee"
    assert machine.run("two", "--ip", "10.1.0.200", "--mac-address", mac) == "10.1.0.200"
    assert mac in machine.docker("exec", "two", "ip", "link", "show", "eth0")
    assert machine.run("three") == "10.1.0.3"
    assert machine.pings("one", "10.1.0.200")
    assert "10.1.0.200 is in use" in machine.refused(
        "run", "--rm", "--net", "web", "--ip", "10.1.0.200", IMAGE, "true"
    )
    assert "leave out -p" in machine.refused("run", "--net", "web", "-p", "80:80", IMAGE, "true")


def test_networks_that_cannot_be(machine: Machine) -> None:
    create = ("network", "create")
    assert "--subnet" in machine.refused(*create, "-d", "snnet", "--ipam-driver", "snnet", "x")
    typo = machine.refused(*create, *options("t3"), "-o", "snnet.subnetkey=8", "x")
    assert "snnet.subnetkey: unknown option" in typo
    assert "subnet_key" in machine.refused(*create, *options("t3", None), "x")
    assert machine.promises() == {"pools": 1, "networks": 1, "addresses": 1}


def test_an_internal_network(machine: Machine) -> None:
    machine.docker("network", "create", "--internal", *options("t3", 9), "inner")
    machine.run("one", network="inner")
    two = machine.run("two", network="inner")
    assert machine.pings("one", two)
    assert "default" not in machine.docker("exec", "one", "ip", "route")
    machine.docker("rm", "-f", "one", "two")
    machine.docker("network", "rm", "inner")


def test_disconnect_and_connect(machine: Machine) -> None:
    machine.run("one")
    machine.run("two")
    machine.docker("network", "disconnect", "web", "two")
    assert not machine.pings("one", "10.1.0.3")
    machine.docker("network", "connect", "--ip", "10.1.0.50", "web", "two")
    assert machine.pings("one", "10.1.0.50")
    assert machine.pings("two", "10.1.0.2")
    machine.docker("restart", "-t", "0", "two")
    assert machine.address_of("two") == "10.1.0.50"
    assert machine.pings("one", "10.1.0.50")


def test_a_container_that_crashes_is_back(machine: Machine) -> None:
    machine.run("one")
    machine.docker(
        "run", "-d", "--name", "two", "--net", "web", "--restart", "always", IMAGE, "sleep", "1000"
    )
    before = machine.address_of("two")
    pid = machine.docker("inspect", "-f", "{{.State.Pid}}", "two")
    subprocess.run(["kill", "-9", pid], check=True)
    until(lambda: machine.docker("inspect", "-f", "{{.RestartCount}}", "two") == "1")
    until(lambda: machine.address_of("two") not in ("", before))
    assert machine.pings("one", machine.address_of("two"))
    assert len(machine.links()) == 4


def test_killed_between_every_two_calls(machine: Machine) -> None:
    machine.docker("network", "rm", "web")
    machine.wire.between = machine.restart_plugin
    before = len(machine.wire.said)
    try:
        machine.docker("network", "create", *options(), "web")
        machine.run("one")
        machine.run("two")
        assert machine.pings("one", machine.address_of("two"))
        machine.docker("rm", "-f", "one", "two")
        assert machine.promises() == {"pools": 1, "networks": 1, "addresses": 1}
        assert machine.links() == set()
        assert len(machine.wire.said) - before >= 17
    finally:
        machine.wire.between = None


def test_killed_within_calls(machine: Machine) -> None:
    """Docker asks again, with an empty body, and fails: no harm is done, and the next try works."""
    calls = ["CreateEndpoint", "Join", "RequestAddress", "Leave", "DeleteEndpoint"]
    dice = random.Random(5)

    def within(method: str) -> bool:
        if not calls or not method.endswith(calls[0]):
            return False
        calls.pop(0)
        time.sleep(dice.random() / 100)
        machine.restart_plugin()
        return True

    machine.wire.within = within
    machine.docker("create", "--name", "one", "--net", "web", "--ip", "10.1.0.9", IMAGE, *SLEEP)
    try:
        for _ in range(3):
            machine.refused("start", "one")
        machine.docker("start", "one")
        assert machine.run("two")
        assert machine.pings("two", "10.1.0.9")
        machine.docker("rm", "-f", "two")
        machine.docker("rm", "-f", "one")
    finally:
        machine.wire.within = None
    assert calls == []
    assert machine.promises() == {"pools": 1, "networks": 1, "addresses": 1}
    assert machine.links() == set()


@pytest.mark.parametrize(
    "order", ["daemon", "daemon plugin", "plugin daemon"], ids=lambda order: order.replace(" ", "-")
)
def test_killed_with_containers_running(machine: Machine, order: str) -> None:
    """The one that is to run again does, with a new endpoint, and nothing is left of the other."""
    machine.run("one", "--restart", "always")
    machine.run("two")
    for which in order.split():
        (machine.kill_daemon if which == "daemon" else machine.kill_plugin)()
    if "plugin" in order:
        machine.start_plugin()
    machine.start_daemon()
    until(lambda: machine.docker("inspect", "-f", "{{.State.Running}}", "one") == "true")
    until(lambda: machine.promises() == ONE_CONTAINER)
    assert machine.run("three")
    assert machine.pings("three", machine.address_of("one"))
    assert len(machine.links()) == 4


def test_containers_that_outlive_their_daemon(machine: Machine) -> None:
    machine.kill_daemon(signal.SIGTERM)
    machine.start_daemon("--live-restore")
    try:
        machine.run("one")
        machine.run("two")
        pid = machine.docker("inspect", "-f", "{{.State.Pid}}", "one")
        machine.kill_daemon()
        ping = ["nsenter", f"--net=/proc/{pid}/ns/net", "busybox", "ping", "-c1", "-W2", "10.1.0.3"]
        assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
        machine.restart_plugin()
        machine.start_daemon("--live-restore")
        assert machine.pings("one", "10.1.0.3")
        machine.docker("rm", "-f", "one", "two")
        assert machine.promises() == {"pools": 1, "networks": 1, "addresses": 1}
    finally:
        machine.kill_daemon(signal.SIGTERM)
        machine.start_daemon()


def test_fifty_at_once(machine: Machine) -> None:
    names = [f"c{number}" for number in range(50)]
    with ThreadPoolExecutor(50) as threads:
        addresses = list(threads.map(machine.run, names))
    assert len(set(addresses)) == 50
    assert machine.pings("c0", addresses[-1])
    assert machine.promises() == {"pools": 1, "networks": 1, "addresses": 51, "endpoints": 50}
    machine.docker("rm", "-f", *names)
    assert machine.promises() == {"pools": 1, "networks": 1, "addresses": 1}
    assert machine.links() == set()


def test_vnics_of_another_caller(centre: DataCentre) -> None:
    """The seed's way: a controller makes the VNICs, the plugin maps them."""
    machine = centre.add("seed", daemon=False)
    machine.kill_plugin()
    config = snnet.NetworkConfig.from_yaml(centre.config)
    with (
        snnet.ComputeNode("seed", config, netns=machine.space.fd) as node,
        DockerPlugin(node, folder=machine.folder, data_dir=machine.folder / "seed") as plugin,
    ):
        node.init()
        plugin.init()
        plugin.start()
        machine.start_daemon()
        machine.import_image(centre.folder)
        cfgs = [
            snnet.VnicConfig(
                role=snnet.VnicRole.TENANT_CONTAINER, tenant_id="t1", subnet_id="s1",
                vnic_id=f"v{number}", instance_id=f"i{number}", concentrator_id="cnci-1",
                concentrator_ip="192.0.2.10", subnet="10.1.0.0/24", subnet_key=7,
                ip=f"10.1.0.{number}", mac=f"02:00:00:00:00:0{number}",
            )
            for number in (8, 9)
        ]  # fmt: skip
        infos = [node.create_vnic(cfg).container_info for cfg in cfgs]
        info = infos[0]
        assert info is not None
        assert info.event is snnet.ContainerEvent.ADD
        machine.docker(
            "network", "create", "-d=snnet", "--ipam-driver=snnet", f"--subnet={info.subnet}",
            f"--gateway={info.gateway}", f"--opt=bridge={info.bridge}", info.subnet_id,
        )  # fmt: skip
        for number in (8, 9):
            machine.run(f"c{number}", "--ip", f"10.1.0.{number}", network=info.subnet_id)
        assert machine.pings("c8", "10.1.0.9")
        link = machine.docker("exec", "c9", "ip", "link", "show", "eth0")
        assert "02:00:00:00:00:09" in link
        assert "call create_vnic first" in machine.refused(
            "run", "--net", info.subnet_id, IMAGE, "true"
        )
        machine.docker("restart", "-t", "0", "c9")
        assert machine.pings("c8", "10.1.0.9")
        machine.docker("rm", "-f", *machine.docker("ps", "-aq").split())
        assert len(node.topology().vnics) == 2, "they are their maker's"
        machine.docker("network", "rm", info.subnet_id)
        gone = [node.destroy_vnic(cfg).container_info for cfg in cfgs]
        assert gone[-1] is not None
        assert gone[-1].event is snnet.ContainerEvent.DEL
        assert machine.links() == set()
        machine.kill_daemon(signal.SIGTERM)


def test_by_tcp_and_tls(centre: DataCentre) -> None:
    machine = centre.add("tls", daemon=False)
    machine.kill_plugin()
    machine.wire.path.unlink()
    authority = trustme.CA()
    files = {"ca": centre.folder / "ca.pem"}
    authority.cert_pem.write_to_path(str(files["ca"]))
    for prefix in ("", "client-"):
        issued = authority.issue_cert("127.0.0.1")
        files[f"{prefix}cert"] = centre.folder / f"{prefix}cert.pem"
        files[f"{prefix}key"] = centre.folder / f"{prefix}key.pem"
        issued.cert_chain_pems[0].write_to_path(str(files[f"{prefix}cert"]))
        issued.private_key_pem.write_to_path(str(files[f"{prefix}key"]))
    pems = [word for name, path in files.items() for word in (f"--tls-{name}", str(path))]
    where = ["--address", "127.0.0.1:9999", "--spec-dir", str(machine.folder / "specs")]
    machine.space.call(lambda: machine.start_plugin(*where, *pems))
    machine.start_daemon()
    machine.import_image(centre.folder)
    machine.docker("network", "create", *options(), "web")
    machine.run("one")
    machine.run("two")
    assert machine.pings("one", "10.1.0.3")
    machine.docker("rm", "-f", "one", "two")
    machine.docker("network", "rm", "web")
    assert machine.promises() == NOTHING
    machine.kill_plugin(signal.SIGTERM)
    assert list((machine.folder / "specs").iterdir()) == []
    machine.kill_daemon(signal.SIGTERM)


def test_in_routed_mode(centre: DataCentre) -> None:
    config = centre.folder / "routed.yaml"
    config.write_text("compute_nets: [192.0.2.0/24]\nmode: routed\n")
    machine = centre.add("routed", config)
    common = ("-d", "snnet", "--ipam-driver", "snnet")
    for tenant, subnet in (("t1", "10.1.0.0/24"), ("t2", "10.2.0.0/24")):
        ids = [f"snnet.tenant={tenant}", "snnet.subnet_id=s1"]
        words = [word for text in ids for word in ("-o", text, "--ipam-opt", text)]
        machine.docker("network", "create", *common, "--subnet", subnet, *words, tenant)
    machine.run("one", network="t1")
    two = machine.run("two", network="t1")
    other = machine.run("other", network="t2")
    assert machine.pings("one", two)
    assert not machine.pings("one", other)
    assert machine.docker("exec", "one", "ip", "route").startswith("default via 169.254.1.1")
    machine.docker("rm", "-f", "one", "two", "other")
    machine.docker("network", "rm", "t1", "t2")
    assert machine.promises() == NOTHING
    assert machine.links() == set()
    machine.kill_daemon(signal.SIGTERM)
    machine.kill_plugin(signal.SIGTERM)
    settings = snnet.NetworkConfig.from_yaml(config)
    with snnet.ComputeNode("routed", settings, netns=machine.space.fd) as node:
        node.init()
        node.reset_network()  # forwarding is as it was
