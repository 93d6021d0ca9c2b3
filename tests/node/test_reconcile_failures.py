"""What fails in a reconcile: which item says so and why, and what is done all the same."""

from __future__ import annotations

from typing import Any

import pytest

import snnet
from snnet.contract import Macvtap, Noun, Operation, Remove, Tunnel
from tests.node.test_reconcile import actions, prepared
from tests.node.world import FakeWorld, container, port, vm


class Held:
    """Links of these kinds cannot be removed."""

    def __init__(self, world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: tuple[type[Noun], ...] = ()
        self._perform = world.kernel.perform
        monkeypatch.setattr(world.kernel, "perform", self.perform)

    def perform(self, operation: Operation) -> None:
        if isinstance(operation, Remove) and isinstance(operation.noun, self.kinds):
            raise snnet.Busy("cannot do it: Device or resource busy (EBUSY)")
        self._perform(operation)


@pytest.fixture
def held(fake: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(fake, monkeypatch)


def tunnels(result: snnet.Reconciled) -> list[snnet.TunnelEvent]:
    return [event for event in result.events if isinstance(event, snnet.TunnelEvent)]


@pytest.mark.parametrize(
    ("kind", "wanted", "key", "field"),
    [
        ("vnics", [container(9), vm(10, ip="10.9.0.1")], ("t1", "s1", "v10"), "ip"),
        ("vnics", [vm(20, mtu=9000), container(9)], ("t1", "s1", "v20"), "mtu"),
        ("cnci_vnics", [port(1), port(9, mtu=9000)], ("t1", "c9"), "mtu"),
    ],
)
def test_what_is_wrong_is_named(
    fake: FakeWorld, kind: str, wanted: list[Any], key: tuple[str, ...], field: str
) -> None:
    node = prepared(fake)
    asked: dict[str, Any] = {kind: wanted}
    (failed,) = node.reconcile(**asked).failed
    assert failed.key == key
    assert isinstance(failed.error, snnet.InvalidRequest)
    assert failed.error.field == field
    with pytest.raises(snnet.InvalidRequest) as caught:
        node.reconcile(**asked, atomic=True)
    at = next(number for number, cfg in enumerate(wanted) if cfg.vnic_id == key[-1])
    assert caught.value.field == f"{kind}[{at}].{field}"


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    ("kind", "wanted", "field"),
    [
        ("vnics", 7, "vnics"),
        ("cnci_vnics", 7, "cnci_vnics"),
        ("vnics", [vm(9), vm(10, subnet_id=None)], "vnics[1].subnet_id"),
        ("cnci_vnics", [vm(9)], "cnci_vnics[0].role"),
        ("vnics", [vm(9), vm(9)], "vnics[1]"),
    ],
)
def test_what_has_no_identity_is_refused(
    fake: FakeWorld, kind: str, wanted: Any, field: str, atomic: bool
) -> None:
    with pytest.raises(snnet.InvalidRequest) as caught:
        fake.node().reconcile(**{kind: wanted}, atomic=atomic)
    assert caught.value.field == field


def test_a_subnet_that_stays_without_vnics_is_an_item(fake: FakeWorld, held: Held) -> None:
    node = fake.node()
    node.create_vnic(vm(9))
    held.kinds = (Tunnel,)
    with pytest.raises(snnet.Incomplete):
        node.destroy_vnic(vm(9))
    with pytest.raises(snnet.Incomplete, match=r"^reconcile is unfinished"):
        node.reconcile(vnics=[], atomic=True)
    (failed,) = node.reconcile(vnics=[]).failed
    assert failed.key == ("t1", "s1")
    assert isinstance(failed.error, snnet.Incomplete)
    held.kinds = ()
    done = node.reconcile(vnics=[])
    assert done.items == []
    assert [event.subnet_id for event in tunnels(done)] == ["s1"]
    assert node.topology().subnets == ()


def test_a_removal_that_fails_removes_what_it_can(fake: FakeWorld, held: Held) -> None:
    node = fake.node()
    name = node.create_vnic(vm(9)).vnic.link_name
    node.create_vnic(vm(10, subnet_number=2))
    held.kinds = (Tunnel,)
    done = node.reconcile(vnics=[vm(10, subnet_number=2)])
    assert actions(done) == {"v9": "failed", "v10": "kept"}
    (failed,) = done.failed
    assert isinstance(failed.error, snnet.Incomplete)
    assert str(failed.error).startswith("reconcile v9 is unfinished")
    assert fake.link(name) is None


def test_a_subnet_that_cannot_go_fails_for_each_vnic(fake: FakeWorld, held: Held) -> None:
    node = fake.node()
    node.create_vnic(vm(9))
    held.kinds = (Tunnel,)
    moved = [vm(9, subnet_key=77)]
    with pytest.raises(snnet.Incomplete, match=r"^reconcile is unfinished"):
        node.reconcile(vnics=moved, atomic=True)
    (failed,) = node.reconcile(vnics=moved).failed
    assert failed.key == ("t1", "s1", "v9")
    held.kinds = ()
    assert actions(node.reconcile(vnics=moved)) == {"v9": "created"}
    assert node.verify() == []


def test_the_only_vnic_of_a_subnet_is_replaced_without_its_tunnel(fake: FakeWorld) -> None:
    node = fake.node()
    node.create_vnic(vm(9))
    done = node.reconcile(vnics=[vm(10, ip="10.1.0.9")])
    assert actions(done) == {"v9": "removed", "v10": "created"}
    assert tunnels(done) == []


def test_one_by_one_a_link_that_needs_no_repair_stays(fake: FakeWorld) -> None:
    """A guest holds it: only what its subnet lacks is made."""
    node = fake.node()
    name = node.create_vnic(container(9)).vnic.link_name
    before = fake.link(name)
    assert before is not None
    tunnel = node.topology().subnets[0].tunnel
    assert tunnel is not None
    fake.delete(tunnel.name)
    done = node.reconcile(vnics=[container(9), vm(10), vm(11, ip="10.1.0.10")])
    assert actions(done) == {"v9": "updated", "v10": "created", "v11": "failed"}
    containers = [event for event in done.events if isinstance(event, snnet.ContainerInfo)]
    assert snnet.ContainerEvent.DEL not in {event.event for event in containers}
    assert fake.link(name) == before
    assert node.verify() == []


def test_an_error_about_all_names_the_reconcile(fake: FakeWorld) -> None:
    node = fake.node()
    fake.kernel.fail(at=1)
    with pytest.raises(snnet.Exhausted, match=r"^reconcile failed and was rolled back"):
        node.reconcile(vnics=[vm(9)], atomic=True)


def test_a_cnci_vnic_that_cannot_be_replaced_fails_alone(fake: FakeWorld, held: Held) -> None:
    node = fake.node()
    node.reconcile(cnci_vnics=[port(1), port(2)])
    held.kinds = (Macvtap,)
    done = node.reconcile(cnci_vnics=[port(1, mac="02:00:00:00:01:99"), port(2), port(3)])
    assert [(item.key, item.action) for item in done.items] == [
        (("t1", "c1"), "failed"),
        (("t1", "c2"), "kept"),
        (("t1", "c3"), "created"),
    ]
    assert isinstance(done.failed[0].error, snnet.Incomplete)
