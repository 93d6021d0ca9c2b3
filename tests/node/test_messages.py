"""Errors that say what to do: which verb, which VNICs, which id, which setting."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import snnet
from snnet.contract import Change, Tap, Tunnel
from snnet.contract.errors import needs
from snnet.node.calls.upkeep import difference
from tests.node.world import FakeWorld, World, vm

# -- what differs ----------------------------------------------------------------------


def test_a_line_says_yes_and_no() -> None:
    one, several = Tap(name="a"), Tap(name="a", multi_queue=True)
    no, yes = "multi_queue no", "multi_queue yes"
    assert difference(one, several) == f"different: {several}: {no}, should be: {yes}"
    assert difference(several, one) == f"different: {one}: {yes}, should be: {no}"


# -- what is to be removed first -------------------------------------------------------


@pytest.mark.parametrize("change", [{"subnet_key": 9}, {"subnet": "10.9.0.0/24", "ip": "10.9.0.4"}])
@pytest.mark.parametrize("mode", ["gre_tunnel", "routed"])
def test_a_subnet_that_differs_names_its_vnics(
    fake: FakeWorld, mode: str, change: dict[str, Any]
) -> None:
    node = fake.node(config=fake.config(mode=mode))
    for number in range(9, 17):
        node.create_vnic(vm(number))
    wrong = vm(20, **change)
    if mode == "routed" and "subnet_key" in change:
        return  # there are no keys
    with pytest.raises(snnet.Conflict, match=r"destroy all its VNICs on this node \(v10, .* and 3"):
        node.create_vnic(wrong)
    for number in range(9, 17):
        node.destroy_vnic(vm(number))
    node.create_vnic(wrong)


def test_a_subnet_of_a_concentrator_that_differs_names_remove_subnet(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    for subnet, key in (("10.1.0.0/24", 8), ("10.1.0.0/25", 8), ("10.2.0.0/24", 7)):
        with pytest.raises(snnet.Conflict, match=r"remove_subnet\('10\.1\.0\.0/24'\) first"):
            cnci.add_remote_subnet(subnet, key, "192.0.2.21")


# -- which call it was -----------------------------------------------------------------

LOCAL = {"config": snnet.NetworkConfig(topology="local")}
SUBNET = ("10.1.0.0/24", 7, "192.0.2.21")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda cnci: cnci.enable_nat(["eth0"]), "enable_nat failed"),
        (lambda cnci: cnci.disable_nat(), "disable_nat is unfinished"),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=1, to="10.1.0.9"
            ),
            "add_port_forward failed",
        ),
        (lambda cnci: cnci.shutdown(), "shutdown is unfinished"),
    ],
)
def test_an_error_begins_with_the_call_of_a_concentrator(
    fake: FakeWorld, act: Any, said: str
) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(*SUBNET)
    if "disable" in said:
        cnci.enable_nat(["eth0"])
    fake.kernel.fail(at=1, error="EBUSY")
    with pytest.raises((snnet.ApiError, snnet.Incomplete), match=rf"^{said}"):
        act(cnci)


def test_an_error_begins_with_the_call_of_a_compute_node(fake: FakeWorld) -> None:
    node = fake.node(**LOCAL)  # type: ignore[arg-type]
    cfg = snnet.ConcentratorConfig(tenant_id="t1", concentrator_id="c1")
    fake.kernel.fail(at=1, error="EBUSY")
    with pytest.raises(snnet.ApiError, match=r"^set_concentrator c1 failed"):
        node.set_concentrator(cfg)
    node.set_concentrator(cfg)
    for at in range(1, 40):
        fake.kernel.fail(at=at, error="EBUSY")
    with pytest.raises(snnet.Incomplete, match=r"^remove_concentrator c1 is unfinished"):
        node.remove_concentrator("t1", "c1")
    assert [made.concentrator_id for made in node.topology().concentrators] == ["c1"]
    with pytest.raises(snnet.Incomplete, match=r"^reset_network is unfinished"):
        node.reset_network()
    assert [made.concentrator_id for made in node.topology().concentrators] == ["c1"]
    fake.kernel.faults = type(fake.kernel.faults)()
    node.drivers.firewall.faults = fake.kernel.faults  # type: ignore[attr-defined]
    node.reset_network()
    assert fake.links() == []


# -- drivers and namespaces ------------------------------------------------------------


@pytest.mark.parametrize("netns", ["nowhere", "/proc/self/ns/net"])
def test_a_namespace_with_the_fake_is_refused(fake: FakeWorld, netns: str) -> None:
    with pytest.raises(snnet.InvalidRequest, match="leave netns out") as caught:
        snnet.ComputeNode("cn-1", fake.config(), backend="fake", firewall="fake", netns=netns)
    assert caught.value.field == "netns"


def test_a_driver_that_is_not_installed_says_what_is(fake: FakeWorld) -> None:
    with pytest.raises(snnet.DriverNotFound, match=r"netlink: use one of these, or install .*'snn"):
        snnet.ComputeNode("cn-1", fake.config(), backend="ovs")


@pytest.mark.parametrize(
    ("module", "group", "driver", "wanted"),
    [("pyroute2", "backends", "netlink", "pip install 'snnet[netlink]'")],
)
def test_a_missing_library_names_the_extra(
    module: str, group: str, driver: str, wanted: str
) -> None:
    program = f"""
import sys
sys.modules[{module!r}] = None
from snnet import plugins
from snnet.contract import DriverLoadError
try:
    plugins.load_driver("snnet.{group}", {driver!r})
except DriverLoadError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert wanted in done.stdout, done.stdout + done.stderr
    assert importlib.metadata.version(module)


def test_a_setting_that_a_node_cannot_have_is_named(fake: FakeWorld) -> None:
    wrong: dict[str, tuple[Any, ...]] = {
        "max_api_concurrency": (0, 2**16 + 1, "8"),
        "read_only": (None, "no"),
        "api_timeout": (0, "1"),
    }
    for field, values in wrong.items():
        for value in values:
            with pytest.raises(snnet.InvalidRequest) as caught:
                fake.node(init=False, **{field: value})
            assert caught.value.field == field
    for limit in (1, 2**16):
        fake.node(max_api_concurrency=limit)
    with pytest.raises(snnet.InvalidRequest, match="'routed': routed tenants have no") as caught:
        fake.cnci(init=False, config=fake.config(mode="routed"))
    assert caught.value.field == "mode"


# -- the wrong node, the wrong tunnel --------------------------------------------------


def test_a_wrong_id_is_told_of_the_node_that_is_there(world: World) -> None:
    node = world.node()
    node.create_vnic(vm())
    node.close()
    other = world.node("cn-2", init=False)
    report = other.init()
    assert report.others == [
        "cn:cn-1 has 3 links on this host: if this node is cn:cn-1, its id is not 'cn-2'"
    ]
    assert report.to_dict()["others"] == report.others
    assert other.rebuild_topology().others == report.others
    other.create_vnic(vm(subnet_number=2))
    assert other.rebuild_topology().others == []


def test_nobody_else_is_no_news(fake: FakeWorld) -> None:
    fake.cnci().add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    assert fake.node(init=False).init().others == []


@pytest.mark.parametrize("subnets", [1, 2])
def test_another_tunnel_in_the_configuration_is_one_line(fake: FakeWorld, subnets: int) -> None:
    node = fake.node()
    for number in range(1, subnets + 1):
        lost = node.create_vnic(vm(9, subnet_number=number)).vnic
        node.create_vnic(vm(10, subnet_number=number))
    node.close()
    config = fake.config(tunnel="vxlan")
    with fake.node(config=config, read_only=True) as watcher:
        assert watcher.verify() == [
            f"tunnel: {subnets} of this node are gre, should be vxlan: repair() replaces them; or "
            "set tunnel: gre in the configuration"
        ]
        fake.delete(lost.link_name)
        bridge = fake.link(lost.bridge or "")
        assert bridge is not None
        assert fake.kernel.apply([Change(replace(bridge, up=False), bridge)]).error is None
        _, *lines = watcher.verify()
        said = (f"different: bridge {bridge.name} ", f"missing: tap {lost.link_name} ")
        assert all(line.startswith(words) for line, words in zip(sorted(lines), said, strict=True))
    again = fake.node(config=config)
    assert again.verify() == []


def test_a_tunnel_that_the_host_lacks_replaces_none(fake: FakeWorld) -> None:
    fake.kernel.gaps.add("gretap")
    node = fake.node(config=fake.config(tunnel="vxlan"))
    node.create_vnic(vm())
    node.close()
    before = fake.text()
    wrong = fake.node(init=False)
    with pytest.raises(snnet.InvalidRequest, match="set tunnel: vxlan") as caught:
        wrong.init()
    assert caught.value.field == "tunnel"
    assert fake.text() == before
    assert any(isinstance(link, Tunnel) for link in fake.links())
    wrong.reset_network()
    assert fake.links() == []


# -- listeners -------------------------------------------------------------------------


class Misspelt:
    def aplied(self) -> None: ...


class WrongArgument:
    def applied(self, nodes: object) -> None: ...


class Nothing:
    def helper(self) -> None: ...


@pytest.mark.parametrize(
    ("listener", "said"),
    [
        (Misspelt(), "Misspelt.aplied is not a hook, and would never be called: .* is applied"),
        (WrongArgument(), "WrongArgument.applied takes nodes, .* may take node, plan, events"),
        (Nothing(), "none of the hooks before_apply, applied, failed"),
        (3, "3 has none of the hooks"),
    ],
)
def test_a_listener_that_would_never_be_called_is_refused(
    fake: FakeWorld, listener: object, said: str
) -> None:
    with pytest.raises(snnet.InvalidRequest, match=said) as caught:
        fake.node(listeners=[listener])
    assert caught.value.field == "listeners"
    assert "Plugin" not in str(caught.value)


def test_a_listener_may_leave_arguments_out_and_have_others_with_defaults(fake: FakeWorld) -> None:
    heard = []

    class Good:
        def applied(self, events: object, more: int = 1, **rest: object) -> None:
            heard.append(events)

        def apply_later(self) -> None: ...

    fake.node(listeners=[Good()]).create_vnic(vm())
    assert heard


# -- arguments -------------------------------------------------------------------------


Anything: Any = object()
"""For arguments that no type checker would let pass."""


@pytest.mark.parametrize(
    ("kind", "given", "wrong", "meant"),
    [
        (snnet.VnicConfig, (), "subnetkey", "subnet_key"),
        (snnet.NetworkConfig, (), "compute_net", "compute_nets"),
        (snnet.Neighbor, (), "tunnelid", "tunnel_id"),
        (snnet.ComputeNode, ("x", Anything), "backends", "backend"),
        (snnet.Cnci, ("x", Anything), "tenant", "tenant_id"),
    ],
)
def test_an_unknown_keyword_is_a_wrong_request(
    kind: Any, given: tuple[Any, ...], wrong: str, meant: str
) -> None:
    with pytest.raises(snnet.InvalidRequest, match=f"did you mean '{meant}'") as caught:
        kind(*given, **{wrong: 1})
    assert caught.value.field == wrong


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("compute_nets: [192.0.2.0/24\ntunnel: x: y\n", "line 2, column 7"),
        ("tunnel: gre\n\tmtu: 1400\n", "line 2, column 1"),
        ("tunnel: 'gre\n", "line 2, column 1"),
    ],
)
def test_broken_yaml_names_line_and_column(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(text)
    with pytest.raises(snnet.InvalidRequest, match=f"{path}, {where} is not YAML") as caught:
        snnet.NetworkConfig.from_yaml(path)
    assert "\n" not in str(caught.value)


def test_eperm_names_the_capability(fake: FakeWorld) -> None:
    node = fake.node()
    fake.kernel.fail(at=1, error="EPERM")
    with pytest.raises(snnet.ApiError, match="CAP_NET_ADMIN") as caught:
        node.create_vnic(vm())
    assert needs() in str(caught.value)


# -- the fabric ------------------------------------------------------------------------


def test_names_and_results_in_place_of_guests_say_what_to_pass(fake: FakeWorld) -> None:
    fabric = snnet.Fabric()
    host, other = fabric.add_host("cn-1", "192.0.2.11/24"), fabric.add_host("cn-2", "192.0.2.12/24")
    node = snnet.ComputeNode("cn-1", fake.config(), backend=host, firewall="fake")
    node.init()
    made = node.create_vnic(vm())
    guest = fabric.attach(host, made.vnic, name="one")
    for name, said in (("cn-2", r"fabric.hosts\['cn-2'\]"), ("one", "attach"), ("x", "10.1.0.9")):
        with pytest.raises(snnet.InvalidRequest, match=said):
            fabric.ping(guest, name)
    with pytest.raises(snnet.InvalidRequest, match=r"fabric.hosts\['cn-2'\]"):
        fabric.ping("cn-2", "192.0.2.11")  # type: ignore[arg-type]
    second: Any = node.create_vnic(vm(10))
    with pytest.raises(snnet.InvalidRequest, match=r"CreatedVnic is not a VNIC: pass its \.vnic"):
        fabric.attach(host, second)
    with pytest.raises(snnet.InvalidRequest, match=r"pass its \.vnic"):
        fabric.add_host("cnci", None, on=second)
    with pytest.raises(snnet.InvalidRequest, match="no link_name"):
        fabric.attach(other, "eth0")  # type: ignore[arg-type]


# -- a dry run -------------------------------------------------------------------------


def test_a_dry_run_prints_what_rules_share_once_and_the_mtu_that_is_meant(walled: World) -> None:
    node = walled.node()
    plan = node.plan_create_vnic(vm())
    lines = plan.to_commands()
    made = [line for line in lines if "add table" in line or " -N " in line or " -I " in line]
    assert len(made) == len(set(made)), made
    assert lines == plan.to_commands()
    assert any(f"mtu {node.site.mtu}" in line for line in lines)
    for line in lines:
        if line.startswith("ip ") and "mtu" in line:
            assert line.split("mtu ")[1].split()[0] == str(node.site.mtu), line


def test_the_bridge_of_a_dry_run_keeps_its_mtu(fake: FakeWorld) -> None:
    fake.kernel = kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24", mtu=1550)
    lines = fake.cnci(config=fake.config(tunnel="vxlan")).plan_add_remote_subnet(
        "10.1.0.0/24", 7, "192.0.2.21"
    )
    create, change = lines.to_commands()[:2]
    assert " mtu 1501 " in create  # only a change keeps ports from setting it
    assert change.endswith(" mtu 1500")
