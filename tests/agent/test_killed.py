"""The agent killed at random moments, while what is wanted changes all the time."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from snnet import Cluster, SnnetError
from snnet.contract import Registry
from tests.killed import Killed
from tests.sample import EVERY, turns

from .conftest import FakeHost
from .machine import Machine

KILLS = int(os.environ.get("SNNET_TEST_KILLS", max(3, 12 // EVERY)))
TENANTS, NETWORKS, VNICS = ("acme", "default"), ("app", "web"), range(1, 7)


class Load:
    """Creates and deletes networks, VNICs and forwards, as ``dice`` says."""

    def __init__(self, cluster: Cluster, dice: random.Random) -> None:
        self.cluster, self.dice = cluster, dice

    def act(self) -> None:
        """One change; what cannot be had at this moment is refused, and that is fine."""
        pick = self.dice.choice
        tenant, network, number = pick(TENANTS), pick(NETWORKS), pick(VNICS)
        base = 1 + NETWORKS.index(network)
        name, port = f"{network}-{number}", 8000 + 100 * TENANTS.index(tenant) + 10 * base + number
        cluster = self.cluster
        subnet = (f"10.{base}.0.0/24", f"fd00:{base}::/64")
        role = "vm" if number % 2 else "container"
        actions: list[tuple[int, Callable[[], object]]] = [
            (4, lambda: cluster.create_network(network, tenant=tenant, subnet=subnet)),
            (12, lambda: cluster.create_vnic(name, tenant=tenant, network=network, role=role)),
            (6, lambda: cluster.create_forward(
                tenant=tenant, network=network, protocol="tcp", port=port, to=name)),
            (6, lambda: cluster.delete_vnic(tenant, name, force=True)),
            (1, lambda: cluster.delete_network(tenant, network, force=True)),
        ]  # fmt: skip
        (action,) = self.dice.choices(
            [action for _, action in actions], [weight for weight, _ in actions]
        )
        with suppress(SnnetError):
            action()

    def clear(self) -> None:
        for network in self.cluster.list_networks():
            self.cluster.delete_network(network.tenant, network.name, force=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Change something all the time, in a thread."""
        over = threading.Event()

        def go() -> None:
            while not over.wait(self.dice.uniform(0, 0.1)):
                self.act()

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def there(machine: Machine) -> dict[str, set[str]]:
    """What is on the machine, as text."""
    run = machine.inside
    return {
        "links": machine.links(),
        "namespaces": {line.split()[0] for line in run(machine.host, "ip netns").splitlines()},
        "tables": set(run(machine.host, "nft list tables").splitlines()),
        # Epochs count on for as long as a namespace may come back, and are swept later.
        "files": {
            path
            for path in machine.runtime_files()
            if not path.startswith(("/run/netns", "/run/snnet/record-epochs-"))
        },
        "servers": {
            line for line in run(machine.host, "ps -eo comm").splitlines() if "dnsmasq" in line
        },
        "forwarding": {run(machine.host, "sysctl -n net.ipv4.ip_forward")},
    }  # fmt: skip


def left(machine: Machine) -> dict[str, set[str]]:
    """What is on the machine when nothing is wanted, and another agent has looked at it."""

    def is_ready() -> bool:
        (node,) = machine.json("node list") or [{}]
        return node.get("state") == "ready" and node.get("compute_ip") is not None

    machine.until(is_ready)
    machine.until(lambda: machine.links() == {"lo", "eth0"})
    machine.end_agent(signal.SIGTERM)
    machine.start_agent()
    machine.until(is_ready)
    return there(machine)


@pytest.mark.kernel
def test_killed_at_any_moment_under_load(machine: Machine) -> None:
    """Afterwards all that is wanted is there; when nothing is wanted, nothing is left."""
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    sys.stdout.write(f"SEED={seed} SNNET_TEST_KILLS={KILLS}\n")  # shown with a failure
    dice = random.Random(seed)
    with Cluster(machine.registry) as cluster:
        load = Load(cluster, random.Random(seed + 1))
        machine.start_agent()
        before = left(machine)
        with load.running():
            for _ in range(KILLS):
                time.sleep(dice.uniform(0, 3))
                machine.end_agent(signal.SIGKILL)
                time.sleep(dice.choice((0, 1)))
                machine.start_agent()
        machine.snnet("status --wait --timeout 60")
        assert machine.snnet("host verify") == "everything is as it should be\n"
        wanted = {vnic.link_name for vnic in cluster.list_vnics()}
        links = machine.links()
        assert {link for link in links if link.startswith("snv-")} == wanted
        assert there(machine)["namespaces"] == {
            cluster.get_network(net.tenant, net.name).to_dict()["netns"]
            for net in cluster.list_networks()
        }
        load.clear()
        assert left(machine) == before


def killed(host: FakeHost, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let the agent do a round and die before an operation; another one takes over.

    Returns whether there were so many operations.  The dead agent does nothing any more.
    """
    left = at

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(host.kernel.faults, "count", count)
        with suppress(Killed):
            host.agent.step(0.03)
    host.kernel.end_claims()
    host.agent = host.open_agent()
    return left < 0


def objects(host: FakeHost) -> list[str]:
    """What is on the host; that it forwards IPv6 since a network has it stays until a reset."""
    lines = host.kernel.to_text().splitlines()
    return [line for line in lines if not line.startswith("sysctl net.ipv6")]


@pytest.mark.usefixtures("quick")
def test_killed_before_any_operation(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fake: whichever operation the agent dies before, the next one finishes the work."""
    for at in turns(0):
        host = FakeHost(registry, f"host-{at}")
        host.agent.step(0)
        before, tenant = objects(host), f"t{at}"
        host.cluster.create_network("web", tenant=tenant, subnet=("10.1.0.0/24", "fd00:1::/64"))
        host.cluster.create_vnic("v1", tenant=tenant, network="web", node=host.node)
        host.cluster.create_forward(
            tenant=tenant, network="web", protocol="tcp", port=8080, to="v1", to_port=80
        )
        died = killed(host, at, monkeypatch)
        host.settle()
        assert set(host.states().values()) == {"ready"}, at
        assert host.agent.node.verify() == [], at
        host.cluster.delete_network(tenant, "web", force=True)
        died |= killed(host, at, monkeypatch)
        host.settle()
        assert objects(host) == before, at
        host.agent.close()
        if not died:
            return
