"""A real Docker daemon on a host whose agent serves it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snnet import Cluster
from tests.docker.daemons import AgentMachine, data_centre
from tests.sample import docker_alone

pytestmark = pytest.mark.kernel

OUTSIDE = "192.0.2.10"
WEB = (
    "network", "create", "-d", "snnet", "--ipam-driver", "snnet", "--subnet", "10.1.0.0/24",
    "--ipam-opt", "snnet.network=web", "web",
)  # fmt: skip


@pytest.fixture(scope="module")
def machine() -> Iterator[AgentMachine]:
    if shutil.which("dockerd") is None:
        pytest.skip("needs docker.io: make test-kernel installs it")
    folder = Path(tempfile.mkdtemp(prefix="snnet-docker-"))
    with docker_alone(), data_centre(folder) as centre:
        yield centre.add_agent("agent")


@pytest.fixture
def cluster(machine: AgentMachine) -> Iterator[Cluster]:
    """The host's cluster; afterwards nothing may be left in it, nor on the host."""
    with Cluster(machine.registry) as cluster:
        yield cluster
        if left := machine.docker("ps", "-aq"):
            machine.docker("rm", "-f", *left.split())
        machine.docker("network", "rm", "web")
        assert cluster.list_vnics() == []
        assert cluster.list_networks() == []
        assert list(cluster.registry.read("v1/docker/", "v1/addresses/").entries) == []
        until(lambda: machine.links() == set())


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def snnet(machine: AgentMachine, *words: str) -> str:
    """A command of the host's user."""
    enter = ("nsenter", f"--net={machine.space.path}")
    argv = [*enter, sys.executable, "-m", "snnet", *words, "--registry", machine.registry]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_containers_and_others_of_one_network(
    machine: AgentMachine, cluster: Cluster, make_netns: Callable[[], str]
) -> None:
    """Docker's containers and VNICs of the command line share a network and its addresses."""
    machine.docker(*WEB)
    assert [str(one.subnet[0]) for one in cluster.list_networks()] == ["10.1.0.0/24"]
    one = machine.run("one", "--dns", "10.1.0.1")
    guest = make_netns()
    snnet(machine, "vnic", "create", "guest", "--network", "web", "--role", "container")
    snnet(machine, "vnic", "attach", "guest", "--netns", guest)
    two = machine.run("two")
    addresses = {vnic.name: str(vnic.ips[0]) for vnic in cluster.list_vnics()}
    assert sorted(addresses.values()) == ["10.1.0.2", "10.1.0.3", "10.1.0.4"]
    assert (one, addresses["guest"], two) == ("10.1.0.2", "10.1.0.3", "10.1.0.4")
    assert machine.pings("one", two)
    assert machine.pings("one", addresses["guest"])
    assert machine.pings("one", "10.1.0.1")
    assert machine.pings("one", OUTSIDE), "out by the host's uplink"
    assert addresses["guest"] in machine.docker("exec", "one", "nslookup", "-type=a", "guest")
    assert "10.1.0.3 belongs to vnic 'guest'" in machine.refused(
        "run", "--rm", "--net", "web", "--ip", "10.1.0.3", "snnet-test", "true"
    )
    snnet(machine, "vnic", "delete", "guest")


def test_killed_agents_and_daemons(machine: AgentMachine, cluster: Cluster) -> None:
    machine.docker(*WEB)
    one = machine.run("one")
    machine.kill_plugin()
    assert machine.pings("one", OUTSIDE), "the data plane outlives the agent"
    machine.start_plugin()
    machine.run("two")
    assert machine.pings("two", one)
    machine.docker("restart", "-t", "0", "one")
    assert machine.pings("two", machine.address_of("one"))
    machine.kill_plugin()
    machine.kill_daemon()
    machine.start_plugin()
    machine.start_daemon()
    until(lambda: cluster.list_vnics() == [])
    machine.docker("start", "one", "two")
    assert machine.pings("one", machine.address_of("two"))
    assert len({str(vnic.ips[0]) for vnic in cluster.list_vnics()}) == 2


def test_an_agent_killed_under_load(machine: AgentMachine, cluster: Cluster) -> None:
    """Whenever it dies, Docker's retries and the next agent leave no address given twice."""
    machine.docker(*WEB)
    for turn in range(4):
        before = {vnic.name for vnic in cluster.list_vnics()}
        argv = ("run", "-d", "--stop-signal", "KILL", "--net", "web")
        with subprocess.Popen(
            machine.client(*argv, "snnet-test", "sleep", "1000"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as running:
            time.sleep(0.12 * turn)
            machine.kill_plugin(signal.SIGKILL)
            machine.start_plugin()
            running.wait(90)
        given = [str(ip) for vnic in cluster.list_vnics() for ip in vnic.ips]
        assert len(given) == len(set(given)), before
    for container in machine.docker("ps", "-q").split():
        assert machine.pings(container, OUTSIDE)
