"""The wanted set of a host's concentrators: what one gives up another has, and what is busy."""

from __future__ import annotations

import pytest

import snnet
from snnet.contract import Listener, PortForward
from tests.node.test_local import HOST, OneHost, config
from tests.node.test_local import one as one
from tests.node.test_properties import Recorder

PUBLIC = "192.0.2.50"


def test_a_concentrator_comes_without_its_only_forward_where_the_port_is_busy(one: OneHost) -> None:
    """The forward is named by the address of its port, too."""
    one.kernel.sockets.append(Listener("tcp", 8081, None, "httpd (pid 1)"))
    doors = [snnet.HostForward(protocol="tcp", port=8081, address=HOST)]
    done = one.cn.reconcile(concentrators=[config(forwards=doors)])
    assert [(item.key, item.action) for item in done.items] == [
        (("concentrator", "acme", "c-acme"), "created"),
        (("host_forward", "acme", "c-acme", "tcp", "8081", HOST), "failed"),
    ]
    assert [made.forwards for made in one.cn.topology().concentrators] == [()]
    assert one.cn.verify() == []


def test_a_concentrator_that_failed_once_is_not_tried_again(one: OneHost) -> None:
    one.kernel.fail(at=1, error="ENOMEM")
    done = one.cn.reconcile(concentrators=[config(forwards=[])])
    assert [(item.key[0], item.action) for item in done.items] == [("concentrator", "failed")]
    assert one.cn.topology().concentrators == ()


DB = snnet.LocalSubnet(subnet_id="db", subnet="10.2.0.0/24", subnet_key=8)
WEB = snnet.LocalSubnet(subnet_id="web", subnet="10.1.0.0/24", subnet_key=7)
MOVED = snnet.LocalSubnet(subnet_id="web", subnet="10.5.0.0/24", subnet_key=9)


def second(*subnets: snnet.LocalSubnet) -> snnet.ConcentratorConfig:
    """Another concentrator of the same tenant."""
    return config(concentrator_id="c-2", subnets=subnets, forwards=[])


Configs = list[snnet.ConcentratorConfig]
HANDED_OVER: dict[str, tuple[Configs, Configs]] = {
    "a port": (
        [config(), config("other", 33023)],
        [config(port=33023), config("other", forwards=[])],
    ),
    "a port and a public address": (
        [config(), config("other", 33023, public_ips=[PUBLIC])],
        [config(port=33023, public_ips=[PUBLIC]), config("other", forwards=[])],
    ),
    "a public address": (
        [config(), config("other", 33023, public_ips=[PUBLIC])],
        [config(public_ips=[PUBLIC]), config("other", 33023)],
    ),
    "a public address of one that keeps another": (
        [config(), config("other", 33023, public_ips=[PUBLIC, "192.0.2.51"])],
        [config(public_ips=[PUBLIC]), config("other", 33023, public_ips=["192.0.2.51"])],
    ),
    "a subnet": ([config(), second(DB)], [config(subnets=[WEB, DB]), second()]),
    "a port to a new one": ([config()], [config("other"), config(forwards=[])]),
    "a subnet's place, behind a new one": (
        [config()],
        [config("other", 33023), config(subnets=[MOVED])],
    ),
}
"""What there is and what is wanted, of which a later one gives up what an earlier one gets."""


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("what", HANDED_OVER)
def test_what_one_gives_up_another_has_by_the_same_reconcile(
    one: OneHost, what: str, atomic: bool
) -> None:
    before, after = HANDED_OVER[what]
    assert not one.cn.reconcile(concentrators=before).failed
    assert not one.cn.reconcile(concentrators=after, atomic=atomic).failed
    assert {item.action for item in one.cn.reconcile(concentrators=after).items} == {"kept"}
    assert one.cn.verify() == []


def test_forwards_stay_while_a_subnet_changes(one: OneHost) -> None:
    recorder = Recorder()
    one.cn.set_concentrator(config())
    one.cn.listeners.register(recorder)
    assert not one.cn.reconcile(concentrators=[config(subnets=[MOVED])]).failed
    operations = [operation for _, plan, _ in recorder.heard for operation in plan]
    assert operations
    assert not any(isinstance(operation.noun, PortForward) for operation in operations)


def test_reserved_concentrators_stay_unless_they_are_named(one: OneHost) -> None:
    one.cn.reconcile(concentrators=[config(), config("other", 33023)])
    one.cn.reserve(lambda _: False, concentrators=lambda key: key == ("acme", "c-acme"))
    done = one.cn.reconcile(concentrators=[])
    assert [(item.key[1], item.action) for item in done.items] == [("other", "removed")]
    done = one.cn.reconcile(concentrators=[config(forwards=[])])
    assert [(item.key[1], item.action) for item in done.items] == [("acme", "updated")]
