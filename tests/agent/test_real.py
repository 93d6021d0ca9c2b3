"""``snnet agent`` as a process, on a host that is a network namespace of the real kernel."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from snnet.system.process import find_program

from .lan import HOST_IP, OUTSIDE_IP, Lan

pytestmark = pytest.mark.kernel


def test_containers_reach_each_other_the_outside_and_are_reached(lan: Lan) -> None:
    """The page "one host": network, containers, NAT and a forward, typed as a user would."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one, two = lan.container("c1"), lan.container("c2")
    assert lan.reaches(one, "10.1.0.3")
    assert lan.reaches(one, "10.1.0.1")
    assert lan.reaches(one, OUTSIDE_IP)
    assert not lan.reaches(one, HOST_IP, patience=0)
    lan.serve(lan.outside, OUTSIDE_IP, 7000)
    assert lan.ask(one, OUTSIDE_IP, 7000) == HOST_IP, "the host translates"
    lan.serve(two, "10.1.0.3", 80)
    lan.snnet("forward create --network web --port 8080 --to c2 --to-port 80")
    assert lan.ask(lan.outside, HOST_IP, 8080) == OUTSIDE_IP
    lan.snnet("forward delete tcp-8080")
    lan.until(lambda: lan.ask(lan.outside, HOST_IP, 8080) == "")


def test_the_data_plane_outlives_the_agent_and_heals_with_the_next(lan: Lan) -> None:
    """Killed, the agent leaves all as it is; what is broken meanwhile the next one repairs."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one, _ = lan.container("c1"), lan.container("c2")
    assert lan.reaches(one, "10.1.0.3")
    lan.end_agent(signal.SIGKILL)
    assert lan.reaches(one, "10.1.0.3")
    assert lan.reaches(one, OUTSIDE_IP)
    lan.inside(lan.host, "nft flush ruleset")
    link = lan.json("vnic show c2")["link_name"]
    lan.inside(lan.host, f"ip link set {link} nomaster")
    assert not lan.reaches(one, "10.1.0.3", patience=0)
    lan.start_agent()
    lan.until(lambda: lan.reaches(one, "10.1.0.3") and lan.reaches(one, OUTSIDE_IP))


def test_a_container_that_starts_again_at_once_is_attached(lan: Lan) -> None:
    """Its links went with its namespace, and the agent makes them again meanwhile."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one, again = lan.container("c1"), lan.namespace("again")
    lan.inside(one, "ip link delete eth0")  # as the kernel does when the namespace ends
    lan.snnet(f"vnic attach c1 --netns {again}")
    assert lan.reaches(again, "10.1.0.1")


def test_only_the_end_of_the_vnic_is_configured(lan: Lan) -> None:
    """A link of its name in the container that is something else's stays as it is."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one = lan.container("c1")
    said = lan.try_snnet(f"vnic attach c1 --netns {one} --as eth1")
    assert said.returncode == 1
    assert "is in that namespace as eth0: say --as eth0" in said.stderr
    other = lan.namespace("other")
    lan.inside(other, "ip link add eth0 type veth peer name far")
    said = lan.try_snnet(f"vnic attach c1 --netns {other}")
    assert said.returncode == 1
    assert "it is in another container" in said.stderr
    assert "10.1.0" not in lan.inside(other, "ip address")


def test_a_guest_has_a_public_address(lan: Lan) -> None:
    """Reached from outside by it, and seen outside with it; the host's other guests are not."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one, two = lan.container("c1"), lan.container("c2")
    lan.serve(one, "10.1.0.2", 80)
    lan.serve(lan.outside, OUTSIDE_IP, 7000)
    lan.snnet("public-ip create 192.0.2.50 --to c1")
    assert lan.ask(lan.outside, "192.0.2.50", 80) == OUTSIDE_IP
    assert lan.ask(one, OUTSIDE_IP, 7000) == "192.0.2.50"
    assert lan.ask(two, OUTSIDE_IP, 7000) == HOST_IP
    # Nothing tells of this: it is noticed at the next glance.
    lan.inside(lan.host, "ip neigh del proxy 192.0.2.50 dev eth0")
    shown = "ip neigh show proxy dev eth0"
    assert lan.until(lambda: "192.0.2.50" in lan.inside(lan.host, shown)) < 20
    assert lan.ask(lan.outside, "192.0.2.50", 80) == OUTSIDE_IP
    lan.end_agent(signal.SIGKILL)
    lan.start_agent()
    assert lan.ask(lan.outside, "192.0.2.50", 80) == OUTSIDE_IP
    lan.snnet("public-ip delete 192.0.2.50")
    lan.until(lambda: lan.ask(lan.outside, "192.0.2.50", 80) == "")
    lan.until(lambda: lan.ask(one, OUTSIDE_IP, 7000) == HOST_IP)


def test_a_group_is_filtered_at_the_port(lan: Lan) -> None:
    """What no rule allows is dropped between two containers of one bridge, and to the outside."""
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one, two = lan.container("c1"), lan.container("c2")
    lan.serve(two, "10.1.0.3", 80)
    lan.serve(two, "10.1.0.3", 81)
    assert lan.reaches(one, "10.1.0.3")
    lan.snnet("group create web --rule 'in tcp 80'")
    lan.snnet("vnic update c2 --group web")
    assert lan.ask(one, "10.1.0.3", 80) == "10.1.0.2"
    assert lan.ask(one, "10.1.0.3", 81) == ""
    assert not lan.reaches(one, "10.1.0.3", patience=0)
    assert not lan.reaches(two, OUTSIDE_IP, patience=0)
    lan.snnet("group update web --rule 'in from group:peer' --rule out", 2)
    lan.snnet("group create peer --rule out --rule 'in icmp'")
    lan.snnet("vnic update c1 --group peer")
    lan.snnet("group update web --rule 'in from group:peer' --rule out")
    assert lan.ask(one, "10.1.0.3", 81) == "10.1.0.2"
    assert lan.reaches(two, OUTSIDE_IP)
    lan.end_agent(signal.SIGKILL)
    lan.inside(lan.host, "nft flush ruleset")
    lan.start_agent()
    lan.until(lambda: lan.try_snnet("host verify").returncode == 0)
    assert "group:peer" in lan.inside(lan.host, "nft list ruleset")
    assert lan.ask(one, "10.1.0.3", 81) == "10.1.0.2"
    lan.snnet("vnic update c1 --no-groups")
    assert lan.ask(one, "10.1.0.3", 81) == ""
    lan.snnet("vnic update c2 --no-groups")
    assert lan.reaches(one, "10.1.0.3")
    lan.snnet("group delete web")
    lan.snnet("group delete peer")
    assert lan.json("group list") == []


def test_a_forward_of_a_busy_port_fails_alone(lan: Lan) -> None:
    """A program of the host keeps its port; the tenant's other forward works."""
    lan.serve(lan.host, HOST_IP, 8080)
    lan.snnet("network create web --subnet 10.1.0.0/24")
    one = lan.container("c1")
    lan.serve(one, "10.1.0.2", 80)
    for port in (8080, 8081):
        lan.snnet(f"forward create --network web --port {port} --to c1 --to-port 80 --no-wait")

    def forwards() -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in lan.json("forward list")}

    lan.until(lambda: forwards()["tcp-8081"]["state"] == "ready")
    busy = forwards()["tcp-8080"]
    assert busy["state"] == "failed"
    assert re.match(r"port tcp/8080 of this host is in use by \S+ \(pid \d+\)", busy["error"])
    assert lan.ask(lan.outside, HOST_IP, 8080) == lan.ask(lan.outside, HOST_IP, 8081) == OUTSIDE_IP
    assert lan.reaches(one, OUTSIDE_IP)


def test_guests_learn_the_mtu_of_their_network(lan: Lan, tmp_path: Path) -> None:
    """By the real dnsmasq, before and after the MTU changes; the gateway has it too."""
    if find_program("udhcpc") is None:
        pytest.skip("udhcpc is not installed")
    script = tmp_path / "lease"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "mtu $mtu" || exit 0\n')
    script.chmod(0o755)
    lan.snnet("network create web --subnet 10.1.0.0/24 --mtu 1400")
    one, netns = lan.container("c1"), lan.json("network show web")["netns"]
    asking = f"udhcpc -i eth0 -f -n -q -T 1 -t 5 -O mtu -s {script}"

    def learned() -> str:
        return lan.inside(one, asking, check=False).strip()

    assert learned() == "mtu 1400"
    lan.snnet("network update web --mtu 1300")
    lan.until(lambda: learned() == "mtu 1300")
    links = json.loads(lan.inside(netns, "ip -json -details link show type bridge"))
    assert [link["mtu"] for link in links] == [1300]
    assert lan.reaches(one, OUTSIDE_IP)


def test_leases_of_concentrators_with_addresses_of_their_own_are_listed(
    lan: Lan, tmp_path: Path
) -> None:
    """Each is looked at with the settings that its agent gave it; names are those of the tenant."""
    if find_program("udhcpc") is None:
        pytest.skip("udhcpc is not installed")
    settings = tmp_path / "agent.yaml"
    settings.write_text(
        "network: {topology: hub, tunnel: vxlan, compute_nets: [192.0.2.0/24], "
        "concentrator_pool: [192.0.2.200, 192.0.2.201]}\n"
    )
    lan.end_agent(signal.SIGTERM)
    lan.start_agent("--config", str(settings))
    lan.until(lambda: [one["topology"] for one in lan.json("node list")] == ["hub"])
    for tenant, name in ("default", "c1"), ("other", "c9"):
        own = f"--tenant {tenant}"
        lan.snnet(f"network create web --subnet 10.1.0.0/24 {own}")
        lan.snnet(f"vnic create {name} --network web --role container --node host {own}")
        netns = lan.namespace(name)
        lan.snnet(f"vnic attach {name} --netns {netns} {own}")
        lan.inside(netns, "udhcpc -i eth0 -f -n -q -T 1 -t 10 -s /bin/true")
    assert [one["name"] for one in lan.json("lease list")] == ["c1"]
    found = {(one["tenant"], one["name"]) for one in lan.json("lease list --all-tenants")}
    assert found == {("default", "c1"), ("other", "c9")}
    lan.snnet("network delete web --force --tenant other")


def test_dnsmasq_is_started_again(lan: Lan) -> None:
    lan.snnet("network create web --subnet 10.1.0.0/24")
    netns = lan.json("network show web")["netns"]

    def server() -> int | None:
        pids = lan.inside(lan.host, f"ip netns pids {netns}").split()
        for pid in pids:
            with contextlib.suppress(OSError):  # it has ended since
                if Path(f"/proc/{pid}/comm").read_text().strip() == "dnsmasq":
                    return int(pid)
        return None

    lan.until(lambda: server() is not None)
    first = server()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    lan.until(lambda: server() not in (None, first))
    # Deleted while no agent runs: the next one ends the server with its namespace.
    last = server()
    assert last is not None
    lan.end_agent(signal.SIGKILL)
    lan.snnet("network delete web")
    lan.start_agent()
    lan.until(lambda: not Path(f"/proc/{last}").exists())
