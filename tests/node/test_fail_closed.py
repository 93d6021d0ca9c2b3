"""A create never succeeds without the rules that keep its guest and its host apart."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Any

import pytest

import snnet
from snnet.contract import RULES, AntiSpoof, BridgeAccept, HostIsolation, Noun, error_for
from snnet.firewall.nft import Nft
from snnet.system.process import run
from tests.node.test_cnci import neighbors
from tests.node.world import FakeWorld, RealWorld, World, container, vm

LOSSES = {
    "nftables": (["nft flush ruleset"], ["nft flush table inet snnet-cn-cn-1"]),
    "iptables": (["iptables -F", "ebtables -F", "arptables -F"], ["iptables -F"], ["ebtables -F"]),
}


def lose_rules(world: World, which: int) -> bool:
    """Remove rules behind the node's back; False if there is no such way to do so."""
    if isinstance(world, FakeWorld):
        for noun in list(world.kernel.state.nouns.values()):
            if type(noun) in RULES and which == 0:
                world.kernel.state.drop(noun)
        return which == 0
    assert isinstance(world, RealWorld)
    ways = LOSSES[world.firewall]
    if which >= len(ways):
        return False
    for command in ways[which]:
        world.run(*command.split())
    return True


def missing(node: snnet.ComputeNode, *about: str) -> list[str]:
    """The lines of ``verify()`` about rules of the bridge, and of these links."""
    bridge = node.topology().subnets[0].bridge
    assert bridge is not None
    return [line for line in node.verify() if any(name in line for name in (bridge.name, *about))]


@pytest.mark.parametrize("which", range(3))
def test_the_next_create_repairs_rules_that_somebody_removed(walled: World, which: int) -> None:
    node = walled.node()
    node.create_vnic(vm(8))
    node.create_vnic(container(9))  # by what the node knows, without a look
    if not lose_rules(walled, which):
        return
    made = node.create_vnic(vm(10))
    assert missing(node, made.vnic.link_name) == []
    assert lose_rules(walled, which)
    node.create_vnic(vm(10))
    assert missing(node, made.vnic.link_name) == []
    node.repair()
    assert node.verify() == []
    node.reset_network()


GROUPED = {"groups": ["web"], "rate_to_guest": "10mbit"}


@pytest.mark.parametrize("mode", snnet.NetworkMode, ids=lambda mode: mode.value)
def test_the_next_call_brings_the_groups_of_a_vnic_back(
    walled: World, mode: snnet.NetworkMode
) -> None:
    """No port can be in a group that is not there: the call failed instead."""
    node = walled.node(config=walled.config(mode=mode))
    node.set_group("t1", "deep")
    node.set_group("t1", "db", rules=[snnet.Rule("in", "tcp", 22, "group:deep")])
    node.set_group("t1", "web", rules=[snnet.Rule("in", "tcp", 80, "group:db")])
    node.create_vnic(vm(9, **GROUPED))
    calls: list[Callable[[], object]] = [
        lambda: node.create_vnic(vm(9, **GROUPED)),
        lambda: node.create_vnic(vm(10, **GROUPED)),
        lambda: node.create_vnics([vm(9, **GROUPED), vm(11, **GROUPED)], atomic=True),
        lambda: node.update_vnic(vm(9, groups=["web"])),
        lambda: node.reconcile(vnics=[vm(9, **GROUPED)], atomic=True),
    ]
    for call in calls:
        assert lose_rules(walled, 0)
        call()
        assert [line for line in node.verify() if "group" in line and "allow" not in line] == []
        node.repair()
        assert node.verify() == []
    assert lose_rules(walled, 0)
    node.set_group("t1", "web", rules=[snnet.Rule("in", "tcp", 81, "group:db")])
    node.repair()
    assert node.verify() == []
    node.reset_network()


def test_a_create_after_a_flush_takes_nothing_from_other_guests(walled: World) -> None:
    if isinstance(walled, RealWorld) and walled.firewall == "nftables":
        node = walled.node()
        node.create_vnic(vm(8))
        node.create_vnic(vm(8, subnet_number=2))
        lose_rules(walled, 1)
        node.create_vnic(vm(9))
        assert node.verify() == []
        node.reset_network()


def test_a_rule_of_a_concentrator_brings_its_zone_back(walled: World) -> None:
    cnci = walled.cnci()
    bridge = cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    cnci.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.21")
    cnci.update_neighbors(neighbors(11, 30))
    cnci.enable_nat(["eth0"])
    calls: list[Callable[[], object]] = [
        lambda: cnci.allow_external("eth0", bridge),
        lambda: cnci.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9"),
        lambda: cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0"),
        lambda: cnci.enable_nat(["eth0"]),
    ]
    for call in calls:
        if isinstance(walled, RealWorld):
            walled.run("nft", "flush", "ruleset")  # of iptables-nft too
        else:
            lose_rules(walled, 0)
        call()
        assert [line for line in cnci.verify() if "zone" in line] == []
    cnci.repair()
    assert cnci.verify() == []
    cnci.shutdown()


@pytest.mark.parametrize("at", range(1, 8))
def test_an_interrupted_create_is_followed_by_one_that_is_whole(walled: World, at: int) -> None:
    class CtrlC:
        left = at

        def is_set(self) -> bool:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return False

    node = walled.node()
    interrupted = False
    try:
        node.create_vnic(vm(9), cancel=CtrlC())
    except KeyboardInterrupt:
        interrupted = True
    node.create_vnic(vm(9))
    node.create_vnic(vm(10))
    assert node.verify() == []
    node.reset_network()
    assert interrupted or at > 5


def test_after_a_failed_rollback_the_next_create_is_whole(fake: FakeWorld) -> None:
    for at in range(1, 6):
        for undone in range(1, at):
            world = FakeWorld("gre")
            node = world.node()
            world.kernel.fail(at=at, error="ENOMEM")
            world.kernel.fail(at=at + undone, error="EBUSY")
            with pytest.raises(snnet.FatalError):
                node.create_vnic(vm(9))
            node.create_vnic(vm(10))
            subnet = node.topology().subnets[0]
            assert all(rule.key in world.kernel.state.nouns for rule in subnet.rules)
            world.close()


@pytest.mark.kernel
@pytest.mark.parametrize("family", ["inet", "bridge", "arp"])
def test_a_probe_that_runs_out_of_memory_is_an_error_and_is_repeated(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    run, failing = Nft.run, [True]

    def exhausted(self: Nft, commands: Any, **options: Any) -> str:
        commands = list(commands)
        if failing and commands[0] == f"add table {family} snnet-probe-snnet":
            failing.clear()
            raise error_for(errno.ENOBUFS, "change the firewall")
        return run(self, commands, **options)

    monkeypatch.setattr(Nft, "run", exhausted)
    node = real.node(init=False)
    before = real.text()
    try:
        node.init()
        node.create_vnic(vm(9))
    except snnet.Exhausted:
        assert real.text() == before
    assert not failing
    node.init()
    node.create_vnic(vm(9))
    there = {type(noun) for noun in left(node)}
    assert {HostIsolation, BridgeAccept, AntiSpoof} <= there
    assert node.verify() == []
    node.reset_network()


def left(node: snnet.ComputeNode) -> list[Noun]:
    return list(node.drivers.firewall.snapshot().values())


def asked_of(node: snnet.ComputeNode | snnet.Cnci, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the firewall of the node is asked from now on."""
    asked: list[str] = []
    firewall = type(node.drivers.firewall)
    for name in ("find", "snapshot", "epoch"):
        original = getattr(firewall, name)

        def spied(self: Any, *args: Any, _name: str = name, _original: Any = original) -> Any:
            asked.append(_name)
            return _original(self, *args)

        monkeypatch.setattr(firewall, name, spied)
    return asked


@pytest.mark.kernel
def test_a_create_that_trusts_asks_the_firewall_one_question(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = real.node()
    node.create_vnic(vm(8))
    asked = asked_of(node, monkeypatch)
    node.create_vnic(vm(9))
    node.create_vnic(container(10))
    assert asked == ["epoch"] * 2
    monkeypatch.undo()
    assert node.verify() == []
    node.reset_network()


@pytest.mark.kernel
def test_so_does_a_new_subnet_of_a_concentrator(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its zone has already was seen, unless others changed rules since."""
    cnci = real.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    asked = asked_of(cnci, monkeypatch)
    cnci.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.21")
    assert asked == ["epoch"]
    cnci.remove_subnet("10.2.0.0/24")
    cnci.remove_subnet("10.1.0.0/24")
    asked.clear()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    cnci.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.22")
    assert "snapshot" not in asked
    assert cnci.verify() == []
    real.run("nft", "flush", "chain", "inet", "snnet-cnci-cnci-1", "from-tenant")
    cnci.add_remote_subnet("10.3.0.0/24", 9, "192.0.2.21")
    monkeypatch.undo()
    assert cnci.verify() == []
    cnci.shutdown()


@pytest.mark.kernel
@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_a_node_does_not_start_without_the_programs_of_its_firewall(
    firewall: str, make_netns: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to install, and can be looked at and removed; it starts once that is there."""
    netns, config = make_netns(), snnet.NetworkConfig(compute_nets=["192.0.2.0/24"], tunnel="vxlan")

    def node(**options: Any) -> snnet.ComputeNode:
        return snnet.ComputeNode(netns, config, netns=netns, firewall=firewall, **options)

    for command in (
        "link add eth0 type veth peer name far",
        "address add 192.0.2.11/24 dev eth0",
        "link set eth0 up",
    ):
        run(["ip", "-n", netns, *command.split()])
    if firewall == "iptables":  # nftables needs nft to look at rules that are there
        with node() as cn:
            cn.init()
            cn.create_vnic(vm(9))
    with monkeypatch.context() as bare:
        bare.setattr("snnet.system.process._SYSTEM_PATH", "/nowhere")
        bare.setenv("PATH", "/nowhere")
        bare.setattr("snnet.firewall.nft._binding", lambda: None)
        reason = f"firewall: .* is(?: not)? installed: apt-get install {firewall}"
        with node() as cn:
            with pytest.raises(snnet.InvalidRequest, match=reason):
                cn.init()
            with pytest.raises(snnet.InvalidRequest, match="not ready"):
                cn.create_vnic(vm(10))
            (line,) = cn.verify()
            assert re.match(reason, line)
        with node(read_only=True) as cn:
            cn.init()
            assert len(cn.topology().vnics) == (firewall == "iptables")
        with node() as cn:
            with pytest.raises(snnet.InvalidRequest, match=reason):
                cn.init()
            cn.reset_network()
    with node() as cn:
        cn.init()
        assert cn.topology().vnics == ()
        cn.reset_network()
        assert cn.verify() == []
        assert len(cn.dump_firewall().splitlines()) == (firewall == "iptables")
