"""Another firewall for a node, and others' rules beside ours; on the real kernel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

import snnet
from snnet.contract import AntiSpoof, HostIsolation, Key, Noun, Owned, Sysctl
from snnet.core.subnets import BRIDGED_TO_IP
from snnet.firewall.iptables import IptablesFirewall
from snnet.firewall.nftables import NftablesFirewall
from snnet.system.host import RealHost
from snnet.system.process import run
from tests.node.test_exits import GUEST, NET, bridge_of, everything
from tests.node.world import RealWorld, vm

pytestmark = pytest.mark.kernel

DRIVERS = {"nftables": NftablesFirewall, "iptables": IptablesFirewall}


def in_namespace(world: RealWorld, *argv: str, input: str | None = None) -> str:
    return run(argv, netns=world.kernel.host.netns.fd, input=input).stdout


def left_of(world: RealWorld, firewall: str, owner: str) -> list[Noun]:
    """What a driver finds of an owner's in the kernel."""
    host = RealHost(world.netns, owner=owner)
    driver = DRIVERS[firewall](host)
    try:
        found = driver.snapshot().values()
        return [noun for noun in found if isinstance(noun, Owned) and noun.owner == owner]
    finally:
        driver.close()
        host.close()


@pytest.mark.parametrize(("old", "new"), [("iptables", "nftables"), ("nftables", "iptables")])
def test_a_concentrators_rules_move_to_the_new_firewall(
    real: RealWorld, old: str, new: str
) -> None:
    cnci = real.cnci(firewall=old)
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    everything(cnci)
    rules, publics = cnci.topology()["rules"], cnci.public_ips
    cnci.close()
    again = real.cnci(firewall=new, init=False)
    moved = again.init().healed
    assert len(moved) == 13
    assert all(line.endswith(f"from {old} to {new}") for line in moved)
    assert left_of(real, old, "cnci:cnci-1") == []
    assert sorted(again.topology()["rules"]) == sorted(rules)
    assert again.public_ips == publics
    assert again.verify() == []
    again.shutdown()
    assert left_of(real, new, "cnci:cnci-1") == []
    assert "snnet" not in in_namespace(real, "nft", "list", "ruleset").lower()


def test_a_compute_nodes_rules_move_too(real: RealWorld) -> None:
    old = real.node(firewall="iptables")
    old.create_vnic(vm(9))
    old.close()
    new = real.node(firewall="nftables")
    assert left_of(real, "iptables", "cn:cn-1") == []
    assert new.verify() == []
    new.reset_network()


def test_without_a_gap_a_connection_goes_on(real: RealWorld) -> None:
    """Its tracked state is left alone: the kernel goes on translating as it did."""
    cnci = real.cnci(firewall="iptables")
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    everything(cnci)
    in_namespace(
        real, "conntrack", "-I", "-p", "tcp", "--state", "ESTABLISHED", "--timeout", "300",
        "--src", "198.51.100.9", "--dst", "192.0.2.11", "--sport", "4000", "--dport", "33265",
        "--reply-src", GUEST, "--reply-dst", "198.51.100.9", "-u", "ASSURED,SEEN_REPLY,DST_NAT",
        "--reply-port-src", "22", "--reply-port-dst", "4000",
    )  # fmt: skip
    cnci.close()
    again = real.cnci(firewall="nftables")
    assert "dport=33265" in in_namespace(real, "conntrack", "-L")
    again.remove_port_forward(protocol="tcp", device="eth0", port=33265)
    assert "dport=33265" not in in_namespace(real, "conntrack", "-L"), "a removed one is forgotten"
    again.shutdown()


def test_a_new_firewall_that_cannot_leaves_the_old_one_in_charge(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnci = real.cnci(firewall="iptables")
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    everything(cnci)
    cnci.close()
    before = left_of(real, "iptables", "cnci:cnci-1")

    def refuse(self: object, commands: object, *, as_json: bool = False) -> str:
        raise snnet.Exhausted("no memory")

    monkeypatch.setattr("snnet.firewall.nft.Nft.run", refuse)
    monkeypatch.setattr(NftablesFirewall, "missing", lambda self, noun: None)
    with pytest.raises(snnet.Exhausted):
        real.cnci(firewall="nftables")
    monkeypatch.undo()
    assert left_of(real, "iptables", "cnci:cnci-1") == before
    real.cnci(firewall="iptables").shutdown()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([], False),
        (["iptables-nft", "-N", "DOCKER"], False),
        (["iptables-nft", "-N", "SNNET-vqicasqk-in"], True),
        (["nft", "add", "table", "inet", "snnet-iptablescn-cn-1"], True),
        (["iptables-legacy", "-L"], True),
    ],
    ids=str,
)
def test_another_firewall_is_opened_where_it_may_have_rules(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch, script: list[str], reason: bool
) -> None:
    """Loading one and running its programs takes longer than all the rest of ``init()``."""
    if script:
        in_namespace(real, *script)
    node, opened = real.node(init=False), list[object]()

    def nothing(self: object) -> dict[Key, Noun]:
        opened.append(self)
        return {}

    monkeypatch.setattr(IptablesFirewall, "snapshot", nothing)
    node.init()
    assert len(opened) == reason
    node.reset_network()


def test_who_may_not_see_legacy_tables_starts_all_the_same(real: RealWorld) -> None:
    """Only root may read which tables there are, and a node needs CAP_NET_ADMIN alone."""
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    in_namespace(real, "iptables-legacy", "-L")
    program = """
from snnet.node.migration import _has_rules
from snnet.system.host import RealHost
host = RealHost(None, owner="cn:cn-1")
print(*(_has_rules(name, host) for name in ("iptables", "nftables")))
"""
    only = [
        "--inh-caps=+net_admin",
        "--ambient-caps=+net_admin",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ]
    argv = ["ip", "netns", "exec", real.netns, setpriv, *only, sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["True", "False"], "")


# -- others' rules ---------------------------------------------------------------------------


@pytest.fixture
def cnci(real: RealWorld) -> snnet.Cnci:
    cnci = real.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    everything(cnci)
    assert cnci.verify() == []
    return cnci


FORWARD = "add chain {family} x f {{ type filter hook forward priority 9; policy {policy}; }}"


def foreign(family: str, *rules: str, policy: str = "accept") -> str:
    """A table of somebody else's that looks at what is forwarded."""
    forward = FORWARD.format(family=family, policy=policy)
    return "\n".join([f"add table {family} x", f"add chain {family} x g", forward, *rules])


DROPS = {
    "a policy": (
        foreign("inet", policy="drop"),
        r"table inet x, chain f \(hook forward\) drops .* by its policy",
    ),
    "an interface": (
        foreign("ip", 'add rule ip x f oifname "BRIDGE" counter drop'),
        "table ip x, chain f .* from eth0 to BRIDGE, by a rule that says drop",
    ),
    "an address": (
        foreign("ip", "add rule ip x f ip saddr 10.1.0.0/16 reject"),
        "by a rule that says reject",
    ),
    "a jump": (
        foreign("ip", 'add rule ip x g iifname "BRIDGE" drop', "add rule ip x f jump g"),
        "says drop in chain g",
    ),
}


@pytest.mark.parametrize("name", DROPS)
def test_others_drops_are_found_and_named(real: RealWorld, cnci: snnet.Cnci, name: str) -> None:
    script, said = (text.replace("BRIDGE", bridge_of(cnci)) for text in DROPS[name])
    in_namespace(real, "nft", "-f", "-", input=script)
    (line,) = cnci.verify()
    assert re.search(said, line), line
    cnci.shutdown()


@pytest.mark.parametrize(
    "rules",
    [
        ['iifname "docker0" drop'],
        ['oifname != "BRIDGE" iifname "docker*" drop'],
        ["ip daddr 172.17.0.0/16 drop"],
        ["tcp dport 25 drop"],
        ['iifname "BRIDGE" accept', 'oifname "BRIDGE" accept', "drop"],
    ],
    ids=str,
)
def test_rules_that_do_us_no_harm_are_not_mentioned(
    real: RealWorld, cnci: snnet.Cnci, rules: list[str]
) -> None:
    bridge = bridge_of(cnci)
    script = foreign("ip", *(f"add rule ip x f {rule.replace('BRIDGE', bridge)}" for rule in rules))
    in_namespace(real, "nft", "-f", "-", input=script)
    assert cnci.verify() == []
    cnci.shutdown()


def test_dockers_policy_is_found(real: RealWorld) -> None:
    """What dockerd does to a host: on a compute node it hits bridged frames (br_netfilter)."""
    node = real.node()
    node.create_vnic(vm(9))
    shown = real.kernel.find(Sysctl(name=BRIDGED_TO_IP[4])) is not None
    for program in ("iptables-nft", "iptables-legacy"):
        in_namespace(real, program, "-P", "FORWARD", "DROP")
        lines = node.verify()
        assert len(lines) == shown
        assert all("chain FORWARD" in line and "by its policy" in line for line in lines)
        in_namespace(real, program, "-P", "FORWARD", "ACCEPT")
    assert node.verify() == []
    node.reset_network()


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_a_policy_hits_what_a_concentrator_routes(
    real: RealWorld, cnci: snnet.Cnci, program: str
) -> None:
    in_namespace(real, program, "-P", "FORWARD", "DROP")
    (line,) = cnci.verify()
    assert "chain FORWARD" in line
    assert "by its policy" in line
    cnci.shutdown()


@pytest.mark.parametrize("command", ["flush ruleset", "flush table inet snnet-cnci-cnci-1"])
def test_a_flush_by_another_program_is_found_and_repaired(
    real: RealWorld, cnci: snnet.Cnci, command: str
) -> None:
    whole = real.text()
    in_namespace(real, "nft", *command.split())
    lines = cnci.verify()
    assert sum(line.startswith("missing: ") for line in lines) == 13
    assert cnci.repair().orphans == []
    assert cnci.verify() == []
    assert real.text() == whole
    cnci.shutdown()
    assert "snnet" not in in_namespace(real, "nft", "list", "ruleset")


def test_a_foreign_table_stays_byte_for_byte(real: RealWorld) -> None:
    elements = ", ".join(f"10.{a}.{b}.1" for a in range(20) for b in range(250))
    script = (
        "add table ip foreign\nadd set ip foreign s { type ipv4_addr; }\n"
        f"add element ip foreign s {{ {elements} }}\n"
        "add chain ip foreign c { type filter hook forward priority 5; }\n"
        'add rule ip foreign c ip saddr @s counter comment "not ours"\n'
    )
    in_namespace(real, "nft", "-f", "-", input=script)
    before = in_namespace(real, "nft", "-s", "list", "ruleset")
    cnci = real.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    everything(cnci)
    cnci.verify()
    cnci.shutdown()
    assert in_namespace(real, "nft", "-s", "list", "ruleset") == before


def test_what_the_firewall_lacks_is_left_out_and_said(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = IptablesFirewall.missing

    def without_ebtables(self: IptablesFirewall, noun: Noun) -> str | None:
        lacking = isinstance(noun, (AntiSpoof, HostIsolation))
        return "no ebtables here" if lacking else original(self, noun)

    monkeypatch.setattr(IptablesFirewall, "missing", without_ebtables)
    node = real.node(firewall="iptables")
    node.create_vnic(vm(9))
    lines = node.verify()
    assert [line.split(":")[0] for line in lines] == [
        "not set, as for all HostIsolation",
        "not set, as for all AntiSpoof",
    ]
    assert all(line.endswith("no ebtables here") for line in lines)
    node.reset_network()


@pytest.mark.parametrize("name", DROPS)
def test_iptables_finds_drops_in_tables_of_nftables_too(real: RealWorld, name: str) -> None:
    cnci = real.cnci(firewall="iptables")
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    everything(cnci)
    assert cnci.verify() == []
    script, said = (text.replace("BRIDGE", bridge_of(cnci)) for text in DROPS[name])
    in_namespace(real, "nft", "-f", "-", input=script)
    (line,) = cnci.verify()
    assert re.search(said, line), line
    cnci.shutdown()
