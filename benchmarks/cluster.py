"""``python -m benchmarks.cluster [HOSTSxVNICS] [URL]``: agents on fake hosts until all is ready.

The hosts are fake kernels on one wire, the registry is in memory or the one of the URL, and
one thread steps all agents in turn.  So the seconds are of one core, for all hosts together.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter

from tests.agent.cloud import Cloud

from snnet.agent import agent as agents
from snnet.agent import drift
from snnet.agent.mirror import Mirror
from snnet.cluster import keys

SPREAD = 10
"""On so many networks are the VNICs of one host."""
NETWORK_HOSTS = 20
"""One for this many tenants, at most."""


class Figures:
    """Prints what each step took, of this process alone."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()
        self._memory = memory()
        self.events: Counter[str] = Counter()

    def show(self, what: str, **more: object) -> None:
        cpu, wall, now = time.process_time(), time.monotonic(), memory()
        words = ", ".join(f"{name} {value}" for name, value in more.items())
        print(
            f"{what}: {cpu - self._cpu:.1f} s of CPU, {wall - self._wall:.1f} s, "
            f"{(now - self._memory) / 2**20:.0f} MiB more{', ' if words else ''}{words}",
            flush=True,
        )
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
    hosts, vnics = map(int, (sys.argv[1] if len(sys.argv) > 1 else "50x20").split("x"))
    tenants = max(SPREAD, hosts // 5)
    agents.SETTLE = 0.0
    drift.LOOK_EVERY = 3600.0
    # Hosts of one fabric share the count of changes that alarms look at: each would look for
    # drift after a change of any other.
    drift.Drift.notice = lambda _: None  # type: ignore[method-assign]
    figures = Figures()
    cloud = Cloud(registry=sys.argv[2] if len(sys.argv) > 2 else "memory:")
    figures.count()
    networks = [f"net-{number}" for number in range(max(4, tenants // NETWORK_HOSTS))]
    cloud.add(*networks, roles=["network"])
    cloud.add(*(f"cn-{number}" for number in range(hosts)), roles=["compute"])
    cloud.settle()
    figures.show(f"{len(networks)} network and {hosts} compute hosts registered")
    for number in range(tenants):
        cloud.cluster.create_network("web", tenant=f"t{number}", subnet="10.1.0.0/16")
    cloud.settle()
    figures.show(f"{tenants} networks, each with a concentrator")
    for host in range(hosts):
        for number in range(vnics):
            cloud.cluster.create_vnic(
                f"v{host}-{number}", tenant=tenant_of(host, number, tenants), network="web",
                node=f"cn-{host}",
            )  # fmt: skip
    figures.show(f"{hosts * vnics} VNICs written")
    figures.events.clear()
    cloud.settle()
    tunnels = len(cloud.documents(keys.TUNNELS))
    figures.show("ready", tunnels=tunnels, states=cloud.states())
    print("what watches reported:", dict(figures.events), flush=True)
    _sizes(cloud)
    killed = [networks[0]]
    for name in killed:
        cloud.kill(name)
    cloud.settle()
    figures.show("a network host died, its concentrators moved")
    cloud.cluster.create_network("new", tenant="t1", subnet="10.2.0.0/24")
    cloud.settle()
    figures.events.clear()
    cloud.cluster.create_vnic("first", tenant="t1", network="new", node="cn-0")
    cloud.settle()
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
