"""``snnet demo --cluster``: a real cluster in namespaces loses a network host."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from snnet.cli.app import snnet as command
from snnet.core import identity as ids
from snnet.lab.cluster import Place, cluster_scenario
from snnet.lab.cluster_demo import ClusterReport
from snnet.lab.streams import Stream
from snnet.system.namespaces import Namespace
from snnet.system.process import find_program
from tests.registries.members import binary


def invoke(*arguments: str, **env: str) -> Result:
    arguments = ("demo", "--cluster", *arguments)
    return CliRunner().invoke(command, arguments, env={"COLUMNS": "80", **env})


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--keep", "excludes --keep, --remove and --mode routed"),
        ("--remove", "excludes --keep, --remove and --mode routed"),
        ("--mode=routed", "excludes --keep, --remove and --mode routed"),
        ("--uplinks=ipv6", "--uplinks ipv6: concentrators with IPv6 addresses lead guests out"),
    ],
)
def test_what_does_not_go_with_it(option: str, reason: str) -> None:
    result = invoke(option)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_it_needs_the_kernel() -> None:
    result = invoke("--backend", "fake")
    assert result.exit_code == 1
    assert "--cluster needs this machine's kernel, and root: backend 'fake' is in" in result.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("registry", ["etcd", "sqlite"])
def test_a_network_host_is_killed(registry: str) -> None:
    if find_program("busybox") is None:
        pytest.skip("busybox is not installed")
    path = os.environ.get("PATH", "")
    if registry == "etcd":
        found = binary()
        if found is None:
            pytest.skip("there is no etcd here")
        path = f"{Path(found).parent}:{path}"
    elif find_program("etcd"):
        pytest.skip("etcd is installed")
    result = invoke("--json", PATH=path)
    data = json.loads(result.stdout)
    assert data["problems"] == []
    assert (result.exit_code, data["ok"], data["registry"]) == (0, True, registry)
    assert data["matrix_after"] == data["matrix_before"]
    assert data["lost_pings"] > 0
    assert data["failover_seconds"] > 0
    moved = {item["tenant"] for item in data["concentrators"] if item["was_on"] == data["killed"]}
    assert moved
    assert data["killed"] not in {item["on"] for item in data["concentrators"]}
    streams = {(item["tenant"] in moved, item["to"] == "outside") for item in data["streams"]}
    assert (True, True) in streams
    assert (True, False) in streams
    ours = {
        ids.name(ids.Owner("cn", host), ids.SPACE, tenant, tenant)
        for host in ("net-1", "net-2")
        for tenant in ("blue", "green")
    }
    assert ours.isdisjoint(os.listdir("/run/netns")), "nothing is left"


# -- what is counted ---------------------------------------------------------------------


def stream(tenant: str, answered: set[int]) -> Stream:
    """Twenty pings, one a second; the host is killed at 10."""
    space = cast("Namespace", None)
    sent = [float(second) for second in range(20)]
    return Stream("a", "b", space, ip_address("192.0.2.1"), tenant, sent, answered)


def report(*streams: Stream, **fields: Any) -> ClusterReport:
    scenario = replace(cluster_scenario(), guests=())
    places = [Place("blue", "net-1", "192.0.2.21"), Place("green", "net-2", "192.0.2.22")]
    values: dict[str, Any] = {
        "backend": "netlink", "firewall": "nftables", "tunnel": "vxlan", "registry": "etcd",
        "scenario": scenario, "before": {}, "killed": "net-1", "killed_at": 10.0,
        "places": places, "places_after": [replace(places[0], node="net-2"), places[1]],
        "streams": streams,
    }  # fmt: skip
    return ClusterReport(**{**values, **fields})


def test_lost_pings_and_the_longest_silence() -> None:
    """What was lost before does not count, nor what may still be answered."""
    blue = stream("blue", {0, 1, *range(3, 11), 14, 16, 17})
    green = stream("green", set(range(15)))
    assert blue.lost(10.0) == 4
    assert blue.silence(10.0) == 4.0
    assert green.lost(10.0) == 0
    found = report(blue, green)
    assert found.moved == {"blue"}
    assert (found.lost_pings, found.failover_seconds) == (4, 4.0)
    assert stream("blue", set()).lost(10.0) == 0


def test_what_is_a_problem() -> None:
    back = stream("blue", set(range(20)))
    assert report(back).ok
    gone = report(stream("blue", set(range(12))))
    assert gone.problems == ["a to b did not come back"]
    stays = report(back, places_after=report().places)
    assert stays.problems == ["the concentrator of blue is still on net-1"]
    other = [Place("blue", "net-2", "192.0.2.29"), report().places[1]]
    assert report(back, places_after=other).problems == [
        "the concentrator of blue has another address"
    ]
    assert report(back, left=["a link"]).problems == ["left over: a link"]
