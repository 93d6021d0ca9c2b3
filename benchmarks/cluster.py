"""``python -m benchmarks.cluster [HOSTSxVNICS] [--mesh] [--etcd]``: agents on fake hosts.

The hosts are fake kernels on one wire, the registry is in memory or, with ``--etcd``, three members
on loopback, and one thread steps all agents in turn.  So the seconds are of one core, for all
hosts together; those of etcd are its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.agent.cloud import CONFIG, MESH, Cloud
from tests.registries.members import Members, binary

from snnet import NetworkConfig
from snnet.agent import drift
from snnet.cluster import keys
from snnet.cluster.mirror import Mirror

SPREAD = 10
"""On so many networks are the VNICs of one host."""
NETWORK_HOSTS = 20
"""One for this many tenants, at most."""

LOAD = {
    "process_cpu_seconds_total": "seconds of CPU",
    "etcd_network_client_grpc_sent_bytes_total": "bytes sent to clients",
    "etcd_debugging_mvcc_events_total": "events",
    "etcd_debugging_mvcc_range_total": "ranges read",
    "etcd_debugging_mvcc_put_total": "puts",
    "etcd_debugging_mvcc_watcher_total": "watches",
    "etcd_debugging_mvcc_keys_total": "keys",
    "etcd_mvcc_db_total_size_in_bytes": "bytes on disk",
    "process_resident_memory_bytes": "bytes of memory",
}
"""Metrics of etcd 3.4, and what they are here."""
HAS = ("watches", "keys", "bytes on disk", "bytes of memory")


class Figures:
    """Prints what each step took, of this process alone."""

    def __init__(self, members: Members | None) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()
        self._memory = memory()
        self._members = members
        self._etcd = self._load()
        self.events: Counter[str] = Counter()

    def _load(self) -> Counter[str]:
        """What the members of etcd count, of all three together."""
        found: Counter[str] = Counter()
        for port in self._members.clients if self._members else ():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                for line in answer.read().decode().splitlines():
                    name, _, value = line.rpartition(" ")
                    if name in LOAD:
                        found[LOAD[name]] += float(value)  # type: ignore[assignment]
        return found

    def show(self, what: str, **more: object) -> None:
        cpu, wall, now = time.process_time(), time.monotonic(), memory()
        words = ", ".join(f"{name} {value}" for name, value in more.items())
        print(
            f"{what}: {cpu - self._cpu:.1f} s of CPU, {wall - self._wall:.1f} s, "
            f"{(now - self._memory) / 2**20:.0f} MiB more{', ' if words else ''}{words}",
            flush=True,
        )
        load = self._load()
        if load:
            more = load - self._etcd
            print("  etcd:", ", ".join(f"{name} {more[name]:,.0f}" for name in LOAD.values()))
            print("  etcd has:", ", ".join(f"{name} {load[name]:,.0f}" for name in HAS), flush=True)
        self._etcd = load
        self._cpu, self._wall, self._memory = time.process_time(), time.monotonic(), now

    def count(self) -> None:
        """Count from now on what the watches of all agents report, by the kind of document."""
        refresh = Mirror.refresh

        def counted(mirror: Mirror, timeout: float) -> set[str]:
            changed = refresh(mirror, timeout)
            self.events.update(key.split("/")[1] for key in changed)
            return changed

        Mirror.refresh = counted  # type: ignore[method-assign]


def memory() -> int:
    """Bytes of this process, at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tenant_of(host: int, number: int, tenants: int) -> str:
    return f"t{(host // SPREAD * SPREAD + number % SPREAD) % tenants}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cluster")
    parser.add_argument("size", nargs="?", default="50x20", metavar="HOSTSxVNICS")
    parser.add_argument("--mesh", action="store_true", help="topology mesh, not hub")
    parser.add_argument("--etcd", action="store_true", help="three members of etcd on loopback")
    options = parser.parse_args()
    hosts, vnics = map(int, options.size.split("x"))
    with ExitStack() as stack:
        members = stack.enter_context(running()) if options.etcd else None
        run(hosts, vnics, MESH if options.mesh else CONFIG, members)


@contextmanager
def running() -> Iterator[Members]:
    """Three members of etcd."""
    etcd = binary()
    assert etcd is not None
    with tempfile.TemporaryDirectory(prefix="snnet-etcd-") as folder:
        members = Members(etcd, Path(folder))
        try:
            members.start()
            members.leader()
            yield members
        finally:
            members.kill()


def run(hosts: int, vnics: int, config: NetworkConfig, members: Members | None) -> None:
    tenants = max(SPREAD, hosts // 5)
    drift.LOOK_EVERY = 3600.0
    # Hosts of one fabric share the count of changes that alarms look at: each would look for
    # drift after a change of any other.
    drift.Drift.notice = lambda _: None  # type: ignore[method-assign]
    figures = Figures(members)
    cloud = Cloud(config, registry=f"etcd:{members.url('snnet')}" if members else "memory:")
    figures.count()

    def settle() -> None:
        """Step the agents until none has anything to do, a second later where etcd may be late."""
        while True:
            time.sleep(1.0 if members else 0.0)
            if not cloud.settle(10**6):
                return

    networks = [f"net-{number}" for number in range(max(4, tenants // NETWORK_HOSTS))]
    cloud.add(*networks, roles=["network"])
    cloud.add(*(f"cn-{number}" for number in range(hosts)), roles=["compute"])
    settle()
    figures.show(f"{len(networks)} network and {hosts} compute hosts registered")
    for number in range(tenants):
        cloud.cluster.create_network("web", tenant=f"t{number}", subnet="10.1.0.0/16")
    settle()
    figures.show(f"{tenants} networks, each with a concentrator")
    for host in range(hosts):
        for number in range(vnics):
            cloud.cluster.create_vnic(
                f"v{host}-{number}", tenant=tenant_of(host, number, tenants), network="web",
                node=f"cn-{host}",
            )  # fmt: skip
    figures.show(f"{hosts * vnics} VNICs written")
    figures.events.clear()
    settle()
    tunnels = len(cloud.documents(keys.TUNNELS))
    figures.show("ready", tunnels=tunnels, states=cloud.states())
    print("what watches reported:", dict(figures.events), flush=True)
    _sizes(cloud)
    killed = [networks[0]]
    for name in killed:
        cloud.kill(name)
    settle()
    figures.show("a network host died, its concentrators moved")
    cloud.cluster.create_network("new", tenant="t1", subnet="10.2.0.0/24")
    settle()
    figures.events.clear()
    cloud.cluster.create_vnic("first", tenant="t1", network="new", node="cn-0")
    settle()
    figures.show("the first VNIC of a network", events=dict(figures.events))
    cloud.close()


def _sizes(cloud: Cloud) -> None:
    """How many documents of each kind there are, and their bytes as JSON."""
    number: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for key, entry in cloud.registry.read(keys.ROOT).entries.items():
        kind = key.split("/")[1]
        number[kind] += 1
        size[kind] += len(key) + len(json.dumps(dict(entry.document)))
    total = sum(size.values())
    print(f"documents: {sum(number.values())}, {total / 2**20:.1f} MiB", dict(number), flush=True)


if __name__ == "__main__":
    main()
