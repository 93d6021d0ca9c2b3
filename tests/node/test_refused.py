"""No other exception than snnet's leaves a node, whatever the system refuses or damages."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

import snnet
from snnet.contract import Change, SnnetError
from snnet.system import netlink
from tests.node.injection import ERRNOS, injector
from tests.node.test_cnci import neighbors
from tests.node.world import FakeWorld, World, container, port, vm
from tests.sample import turns

Act = Callable[[Any], object]


def _bridge(cnci: snnet.Cnci) -> str:
    return str(cnci.topology().subnets[0].bridge.name)


COMPUTE: dict[str, Act] = {
    "init": lambda node: node.init(),
    "create_vnic": lambda node: node.create_vnic(vm(20)),
    "verify": lambda node: node.verify(),
    "plan_create_vnic": lambda node: node.plan_create_vnic(vm(21)).to_commands(),
    "rebuild_topology": lambda node: node.rebuild_topology(),
    "repair": lambda node: node.repair(),
    "dump_firewall": lambda node: node.dump_firewall(),
    "destroy_vnic": lambda node: node.destroy_vnic(vm(20)),
    "reset_network": lambda node: node.reset_network(),
}
CONCENTRATOR: dict[str, Act] = {
    "init": lambda cnci: cnci.init(),
    "add_remote_subnet": lambda cnci: cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21"),
    "enable_nat": lambda cnci: cnci.enable_nat(["eth0"]),
    "add_entry": lambda cnci: cnci.dhcp("10.1.0.0/24").add_entry("10.1.0.50", hostname="x"),
    "add_port_forward": lambda cnci: cnci.add_port_forward(
        protocol="tcp", device="eth0", port=80, to="10.1.0.9"
    ),
    "add_public_ip": lambda cnci: cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0"),
    "verify": lambda cnci: cnci.verify(),
    "repair": lambda cnci: cnci.repair(),
    "shutdown": lambda cnci: cnci.shutdown(),
}


def _every_refusal(make: Callable[[], Any], name: str, act: Act) -> int:
    """Refuse each system call of an act, once, on a node that is made anew each time."""
    inject = injector()
    numbers = itertools.cycle(ERRNOS)
    refused = 0
    for at in itertools.chain((1,), turns(2, stride=20)):
        with make() as node:
            if name != "init":
                node.init()
            with inject.refusing(at, next(numbers)), suppress(SnnetError):
                act(node)
            if not inject.hit:
                return refused
            refused += 1
            act(node) if name != "init" else node.init()
        assert at < 2000
    raise AssertionError


@pytest.mark.kernel
@pytest.mark.parametrize("name", COMPUTE)
def test_a_refusal_below_a_compute_node_is_an_error_of_snnet(real: World, name: str) -> None:
    if name not in ("init", "create_vnic"):
        real.node().create_vnic(vm(20))
        real.close()
    assert _every_refusal(lambda: real.node(init=False), name, COMPUTE[name]) >= 1
    node = real.node()
    node.repair()
    assert node.verify() == []


@pytest.mark.kernel
@pytest.mark.parametrize("name", CONCENTRATOR)
def test_a_refusal_below_a_concentrator_is_an_error_of_snnet(real: World, name: str) -> None:
    if name not in ("init", "add_remote_subnet"):
        real.cnci().add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
        real.close()
    assert _every_refusal(lambda: real.cnci(init=False), name, CONCENTRATOR[name]) >= 1
    cnci = real.cnci()
    cnci.repair()
    assert cnci.verify() == []


@pytest.mark.kernel
def test_a_dump_that_is_interrupted_for_ever_ends(
    real: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = real.node()
    node.create_vnic(vm())

    def interrupted(
        self: netlink.Netlink, message: bytearray, *arguments: Any, **options: Any
    ) -> list[bytes]:
        if message[6:8][1] & (netlink.NLM_F_DUMP >> 8):
            raise netlink._Interrupted
        return request(self, message, *arguments, **options)

    request = netlink.Netlink.request
    monkeypatch.setattr(netlink.Netlink, "request", interrupted)
    monkeypatch.setattr(netlink, "_DUMP_PATIENCE", 0.05)
    with pytest.raises(snnet.Busy, match="changed during every attempt to list it"):
        node.rebuild_topology()
    monkeypatch.undo()
    assert node.verify() == []


@pytest.mark.kernel
@pytest.mark.parametrize("length", [0, 3, 15, 16, 17, 31])
def test_an_answer_that_is_cut_off_is_an_error(
    real: World, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    node = real.node()
    node.create_vnic(vm())

    class Cut:
        def __init__(self, sock: Any) -> None:
            self._sock = sock

        def recv_into(self, *arguments: Any) -> int:
            return min(int(self._sock.recv_into(*arguments)), length)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    made = netlink._Socket.__init__

    def cutting(self: netlink._Socket, protocol: int) -> None:
        made(self, protocol)
        self._sock = Cut(self._sock)  # type: ignore[assignment]

    node.close()
    monkeypatch.setattr(netlink._Socket, "__init__", cutting)
    again = real.node(init=False)
    with pytest.raises(SnnetError, match="from the kernel"):
        again.init()
    monkeypatch.undo()


@pytest.mark.kernel
@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
@pytest.mark.parametrize("kind", ["ComputeNode", "Cnci"])
def test_without_the_capability_the_error_names_it(real: World, firewall: str, kind: str) -> None:
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    extra = "tenant_id='t1'," if kind == "Cnci" else ""
    program = f"""
import snnet
config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"], tunnel="vxlan")
node = snnet.{kind}("n-1", config, {extra} backend={real.drivers()["backend"]!r},
                    firewall={firewall!r}, netns={real.drivers()["netns"]!r})
try:
    node.init()
except snnet.ApiError as error:
    print(type(error).__name__, error, error.state)
"""
    bounds = ["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    argv = [setpriv, *bounds, sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Denied"), done.stdout + done.stderr
    assert "CAP_NET_ADMIN" in done.stdout
    assert done.stdout.strip().endswith("untouched")
    assert done.stderr == ""


# -- what others have damaged ----------------------------------------------------------

_WORDS = (
    "", "0", "-1", "x", "1" * 300, "9" * 20, "10.1.0.0/99", "::1", "fe80::1%eth0", "10.1.0.300",
    "\u0661", "1e5", "~" + "A" * 22, "~" + "!" * 22, "None", "10.1.0.9/24", "0x10", "é", "=", "1_0",
    "256.0.0.0/8", "ff:ff:ff:ff:ff:ff",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, 5, -1, "x", [], {}, "9" * 30, 1e400, float("nan"), True, ["a"], {"a": 1}, 10**30, [[]],
    "10.1.0.0/99", "::1",
)  # fmt: skip


def _damaged_alias(dice: random.Random, alias: str) -> str:
    version, *words = alias.split(" ")
    chosen = dice.randrange(len(words))
    key = words[chosen].split("=")[0]
    match dice.randrange(4):
        case 0 | 1:
            words[chosen] = f"{key}={dice.choice(_WORDS)}"
        case 2:
            del words[chosen]
        case _:
            letters = list(words[chosen])
            letters[dice.randrange(len(letters))] = chr(dice.randrange(33, 127))
            words[chosen] = "".join(letters)
    return " ".join([version, *words])[:250]


def _damaged(dice: random.Random, value: Any) -> Any:
    if not isinstance(value, (dict, list)) or not value or dice.random() < 0.2:
        return dice.choice(_VALUES)
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    where = dice.choice([*copy] if isinstance(copy, dict) else range(len(copy)))
    if dice.random() < 0.2:
        del copy[where]
    else:
        copy[where] = _damaged(dice, copy[where])
    return copy


def _damage(dice: random.Random, world: FakeWorld) -> None:
    links = [link for link in world.links() if " " in link.alias]
    for link in dice.sample(links, dice.randrange(3)):
        alias = _damaged_alias(dice, link.alias)
        assert world.kernel.apply([Change(replace(link, alias=alias), link)]).error is None
    records, journals = world.kernel.state.records, world.kernel.state.journals
    for name in [name for name in records if dice.random() < 0.5]:
        new = _damaged(dice, records[name])
        records[name] = new if isinstance(new, dict) else {"x": new}
    for lines in journals.values():
        if lines and dice.random() < 0.6:
            where = dice.randrange(len(lines))
            damaged = dice.random() < 0.5
            old = json.loads(lines[where])
            lines[where] = json.dumps(_damaged(dice, old)) if damaged else dice.choice(_WORDS)


def _compute(world: FakeWorld, mode: str) -> snnet.ComputeNode:
    return world.node(config=world.config(mode=mode), init=False)


def _concentrator(world: FakeWorld, mode: str) -> snnet.Cnci:
    return world.cnci(init=False)


@pytest.mark.parametrize("mode", ["gre_tunnel", "routed"])
@pytest.mark.parametrize("seed", range(25))
def test_damage_under_a_compute_node_is_never_raised_raw(seed: int, mode: str) -> None:
    dice, world = random.Random(seed), FakeWorld(("gre", "vxlan", "geneve")[seed % 3])
    with _compute(world, mode) as node:
        node.init()
        node.create_vnic(vm(9))
        node.create_vnic(container(10))
        node.create_cnci_vnic(port(1))
    _damage(dice, world)
    _use(_compute(world, mode), lambda node: node.create_vnic(vm(20)))


@pytest.mark.parametrize("seed", range(50))
def test_damage_under_a_concentrator_is_never_raised_raw(seed: int) -> None:
    dice, world = random.Random(seed), FakeWorld(("gre", "vxlan", "geneve")[seed % 3])
    with _concentrator(world, "") as cnci:
        cnci.init()
        for remote in ("192.0.2.21", "192.0.2.22"):
            bridge = cnci.add_remote_subnet("10.1.0.0/24", 7, remote)
        cnci.update_neighbors(neighbors(11, 30, 31))
        cnci.enable_nat(["eth0"])
        cnci.allow_external("eth0", bridge)
        cnci.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9")
        cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    _damage(dice, world)
    _use(
        _concentrator(world, ""),
        lambda cnci: cnci.add_remote_subnet("10.9.0.0/24", 9, "192.0.2.21"),
    )


def _use(node: Any, act: Act) -> None:
    """Start the node and call it; only errors of snnet may come, and no bug of a driver."""
    clear = getattr(node, "reset_network", None) or node.shutdown
    calls: list[Callable[[], object]] = [
        node.init, node.verify, node.rebuild_topology, lambda: act(node), node.repair,
        node.verify, clear,
    ]  # fmt: skip
    for call in calls:
        assert "bug in the driver" not in _refusal(call)
    node.close()


def _refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except SnnetError as error:
        return str(error)
    return ""
