"""Pictures of what is there: of a registry, of a real host, and as the command shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from snnet import Agent, Cluster, Cnci, ComputeNode, FakeKernel, NetworkConfig, VnicConfig
from snnet.cli.app import snnet
from snnet.cluster import keys
from snnet.contract import Put
from snnet.drawing import registered
from snnet.drawing.picture import Bridge, Host, Nic, Tunnel

CONFIG = NetworkConfig(compute_nets=["192.0.2.0/24"], tunnel="vxlan", mtu=1400)


def test_of_a_registry() -> None:
    """Nodes, concentrators where they are placed, and a tunnel from each network to its own."""
    with Cluster("memory:") as cluster:
        cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24", key=7)
        for name, node in (("v1", "cn-1"), ("v2", "cn-1"), ("v10", "cn-2")):
            cluster.create_vnic(name, tenant="acme", network="web", node=node)
        place = {"node": "cn-2", "address": "192.0.2.12"}
        cluster.registry.commit([Put(keys.concentrator("acme"), place)])
        picture = registered.picture(cluster)
    facts = ("10.1.0.0/24", "key 7")
    served = Bridge("concentrator acme/web", "acme", "web", facts)
    first = Bridge("node cn-1 acme/web", "acme", "web", facts, (_nic("v1", 2), _nic("v2", 3)))
    second = Bridge("node cn-2 acme/web", "acme", "web", facts, (_nic("v10", 4),))
    assert picture.hosts == (
        Host("concentrator acme", "acme", "concentrator", ("on cn-2", "192.0.2.12"), (served,)),
        Host("node cn-1", "cn-1", "host", ("not registered",), (first,)),
        Host("node cn-2", "cn-2", "host", ("not registered",), (second,)),
    )
    assert picture.tunnels == (
        Tunnel("acme", "web", (first.id, served.id), "tunnel"),
        Tunnel("acme", "web", (second.id, served.id), "veth"),
    )
    assert picture.counts == "2 hosts, 1 concentrator, 1 tenant, 3 VNICs"


def _nic(name: str, last: int) -> Nic:
    return Nic(name, (f"10.1.0.{last}",), (f"02:00:0a:01:00:{last:02x}", "pending"))


def test_direct_paths_of_a_mesh() -> None:
    with Cluster("memory:") as cluster:
        cluster.create_network("web", subnet="10.1.0.0/24")
        for name in ("cn-1", "cn-2", "cn-3"):
            document = {"name": name, "roles": ["compute"], "topology": "mesh"}
            cluster.registry.commit([Put(keys.node(name), document)])
            cluster.create_vnic(f"v-{name}", network="web", node=name)
        (tunnel,) = registered.picture(cluster).tunnels
    assert tunnel.ends == tuple(f"node cn-{number} default/web" for number in (1, 2, 3))


def test_the_command_with_a_registry(tmp_path: Path) -> None:
    """The whole cluster as a tree, as data, and as pages."""
    url = f"sqlite:{tmp_path}/registry.db"
    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    config = NetworkConfig(topology="local")
    with (
        Cluster(url) as cluster,
        Agent("cn-1", config, registry=url, backend=kernel, firewall="fake", dhcp="fake") as agent,
    ):
        agent.step(0)
        cluster.create_network("web", subnet="10.1.0.0/24", key=7)
        cluster.create_vnic("v1", network="web", node="cn-1")
        while cluster.get_network("default", "web").state != "ready":
            agent.step(0.1)
        agent.start()
        tree = _run(url, "topology").splitlines()
        assert [line.split("─ ")[-1].split("  ")[0] for line in tree] == [
            "cluster: 1 host, 1 concentrator, 1 tenant, 1 VNIC",
            "default", "default/web", "cn-1", "default/web", "v1",
        ]  # fmt: skip
        assert "veth to concentrator default" in tree[4]
        data = json.loads(_run(url, "topology --json"))
        assert [host["id"] for host in data["hosts"]] == ["concentrator default", "node cn-1"]
        _run(url, f"topology --svg {tmp_path}/t.svg --html {tmp_path}/t.html")
        wanted = json.loads(_run(url, "topology --wanted --json"))
        facts = [" ".join(host["facts"]) for host in (data["hosts"][1], wanted["hosts"][1])]
        assert [fact.endswith("s old") for fact in facts] == [True, False]
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")
    assert "10.1.0.2" in (tmp_path / "t.html").read_text()


def _run(url: str, line: str) -> str:
    result = CliRunner().invoke(
        snnet, line.split(), env={"SNNET_REGISTRY": url}, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.kernel
def test_of_a_real_host(make_netns: Callable[[], str], tmp_path: Path) -> None:
    """A compute node and a concentrator, joined by their tunnel, and one to somewhere else."""
    netns = make_netns()
    run = ["nsenter", f"--net=/run/netns/{netns}"]
    for command in (
        "ip link add eth0 type veth peer name far",
        "ip address add 192.0.2.11/24 dev eth0",
        "ip link set eth0 up",
        "ip link set far up",
    ):
        subprocess.run([*run, *command.split()], check=True)
    vnic = VnicConfig(
        tenant_id="acme", subnet_id="web", vnic_id="v1", instance_id="i1",
        concentrator_id="c1", concentrator_ip="192.0.2.10",
        subnet="10.1.0.0/24", subnet_key=7, ip="10.1.0.9",
    )  # fmt: skip
    with ComputeNode("cn-1", CONFIG, netns=netns, api_timeout=60) as node:
        node.init()
        made = node.create_vnic(vnic).vnic
    with Cnci("c1", CONFIG, tenant_id="acme", netns=netns, api_timeout=60) as cnci:
        cnci.init()
        cnci.add_remote_subnet("10.2.0.0/24", 9, "192.0.2.12")
    show = [*run, sys.executable, "-m", "snnet", "topology", "--here"]
    page = tmp_path / "t.html"
    done = subprocess.run(
        [*show, "--json", "--html", str(page)], check=True, capture_output=True, text=True
    )
    data = json.loads(done.stdout)
    assert [(host["id"], host["kind"]) for host in data["hosts"]] == [
        ("cn:cn-1", "host"), ("cnci:c1", "concentrator"), ("192.0.2.10", "elsewhere"),
        ("192.0.2.12", "elsewhere"),
    ]  # fmt: skip
    (bridge,) = data["hosts"][0]["bridges"]
    assert (bridge["tenant"], bridge["network"]) == ("acme", "web")
    assert bridge["facts"] == ["10.1.0.0/24", "key 7", made.bridge]
    assert bridge["nics"] == [
        {"name": "v1", "addresses": ["10.1.0.9"], "notes": [made.link_name, "02:00:0a:01:00:09"]}
    ]
    assert [tunnel["ends"] for tunnel in data["tunnels"]] == [
        ["cn:cn-1 acme/web", "192.0.2.10"],
        ["cnci:c1 10.2.0.0/24", "192.0.2.12"],
    ]
    assert made.link_name in page.read_text()


@pytest.mark.kernel
def test_of_one_host_with_its_concentrators(make_netns: Callable[[], str], tmp_path: Path) -> None:
    """Topology "local": the concentrator is in a namespace, and a veth leads to it."""
    netns = make_netns()
    run = ["nsenter", f"--net=/run/netns/{netns}"]
    for command in (
        "ip link add eth0 type veth peer name far",
        "ip address add 192.0.2.11/24 dev eth0",
        "ip link set eth0 up",
        "ip link set far up",
    ):
        subprocess.run([*run, *command.split()], check=True)
    url = f"sqlite:{tmp_path}/registry.db"
    config = NetworkConfig(topology="local")
    with (
        Cluster(url) as cluster,
        Agent("cn-1", config, registry=url, netns=netns) as agent,
    ):
        cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24", key=7)
        cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
        while {cluster.get_vnic("acme", "v1").state, cluster.get_network("acme", "web").state} != {
            "ready"
        }:
            agent.step(0.1)
        done = subprocess.run(
            [*run, sys.executable, "-m", "snnet", "topology", "--here", "--json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        data = json.loads(done.stdout)
    reset = [*run, sys.executable, "-m", "snnet", "host", "reset", "--yes"]
    subprocess.run(reset, check=True, capture_output=True)
    assert [host["kind"] for host in data["hosts"]] == ["host", "concentrator"]
    (tunnel,) = data["tunnels"]
    ends = [data["hosts"][0]["bridges"][0]["id"], data["hosts"][1]["bridges"][0]["id"]]
    assert (tunnel["ends"], tunnel["label"]) == (ends, "veth")
