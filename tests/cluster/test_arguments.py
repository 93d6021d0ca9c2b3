"""What the verbs of a cluster are asked with is checked, as what is created is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snnet
from snnet import Cluster

NAMED = {
    "network": {"mtu": 1400},
    "vnic": {"mtu": 1400},
    "group": {"rules": []},
    "forward": {"to": "v2"},
}
"""The kinds with names, and a change of each."""
NO_NAMES: tuple[Any, ...] = (3, b"x", "", "a/b", ["a"], object(), 10**5000)


def calls() -> dict[str, Callable[[Cluster, Any], object]]:
    """By field and method: a call of a cluster with a value for that field."""
    made: dict[str, Callable[[Cluster, Any], object]] = {}
    for kind, changes in NAMED.items():
        for verb in (f"get_{kind}", f"delete_{kind}", f"update_{kind}"):
            more = changes if verb.startswith("update") else {}
            made[f"tenant of {verb}"] = lambda cluster, value, verb=verb, more=more: (  # type: ignore[misc]
                getattr(cluster, verb)(value, "x", **more)
            )
            made[f"name of {verb}"] = lambda cluster, value, verb=verb, more=more: (  # type: ignore[misc]
                getattr(cluster, verb)("acme", value, **more)
            )
    for verb in ("get_public_ip", "delete_public_ip"):
        made[f"tenant of {verb}"] = lambda cluster, value, verb=verb: (  # type: ignore[misc]
            getattr(cluster, verb)(value, "203.0.113.5")
        )
    for kinds in ("networks", "vnics", "groups", "forwards", "public_ips"):
        made[f"tenant of list_{kinds}"] = lambda cluster, value, kinds=kinds: (  # type: ignore[misc]
            getattr(cluster, f"list_{kinds}")(value)
        )
    return made | {
        "tenant of export": lambda cluster, value: cluster.export(value),
        "tenant of wait_vnic": lambda cluster, value: cluster.wait_vnic(value, "x"),
        "name of get_node": lambda cluster, value: cluster.get_node(value),
        "name of drain_node": lambda cluster, value: cluster.drain_node(value),
        "name of forget_node": lambda cluster, value: cluster.forget_node(value, force=True),
    }


@pytest.mark.parametrize("call", calls())
def test_what_no_name_can_be_is_refused(cluster: Cluster, call: str) -> None:
    before = cluster.export()
    for value in NO_NAMES:
        with pytest.raises(snnet.InvalidRequest) as caught:
            calls()[call](cluster, value)
        assert caught.value.field == call.split()[0]
    assert cluster.export() == before


@pytest.mark.parametrize(
    "timeout", ["5", -1, float("nan"), float("inf"), True, pytest.param(10**5000, id="huge")]
)
def test_a_time_to_wait_is_a_number_of_seconds(cluster: Cluster, timeout: Any) -> None:
    network = cluster.get_network("acme", "web")
    for call in (
        lambda: cluster.wait_vnic("acme", "v1", timeout),
        lambda: cluster.wait(network, timeout),
        lambda: cluster.watch(timeout),
    ):
        with pytest.raises(snnet.InvalidRequest) as caught:
            call()
        assert caught.value.field == "timeout"


@pytest.mark.parametrize("value", [None, 1, "yes", object()])
def test_a_switch_is_true_or_false(cluster: Cluster, value: Any) -> None:
    for field, call in (
        ("force", lambda: cluster.delete_network("acme", "web", force=value)),
        ("force", lambda: cluster.delete_vnic("acme", "v1", force=value)),
        ("force", lambda: cluster.forget_node("n1", force=value)),
        ("draining", lambda: cluster.drain_node("n1", draining=value)),
        ("prune", lambda: cluster.apply([], prune=value)),
        ("dry_run", lambda: cluster.apply([], dry_run=value)),
    ):
        with pytest.raises(snnet.InvalidRequest) as caught:
            call()
        assert caught.value.field == field
    assert cluster.get_network("acme", "web").name == "web"


def test_what_is_waited_for_and_what_is_called_are_checked(cluster: Cluster) -> None:
    async def told(done: int, of: int) -> None: ...

    progress: Any
    for progress in (3, told):
        with pytest.raises(snnet.InvalidRequest, match="progress"):
            cluster.apply([], progress=progress)
    wanted: Any = "web"
    with pytest.raises(snnet.InvalidRequest, match="wanted"):
        cluster.wait(wanted)


@pytest.mark.parametrize("config", [None, {}, "hub", snnet.NetworkConfig])
def test_an_agent_needs_a_configuration(config: Any) -> None:
    with pytest.raises(snnet.InvalidRequest) as caught:
        snnet.Agent("n1", config, registry="memory:", backend="fake", firewall="fake", dhcp="fake")
    assert caught.value.field == "config"


@pytest.mark.parametrize(
    ("field", "values"),
    [("at", {"at": None}), ("at", {"at": 0}), ("at", {"at": "1"}), ("at", {"at": 2**40}),
     ("error", {"at": 1, "error": None}), ("error", {"at": 1, "error": "ENO"})],
)  # fmt: skip
def test_an_injected_failure_is_checked(field: str, values: dict[str, Any]) -> None:
    kernel = snnet.FakeKernel()
    with pytest.raises(snnet.InvalidRequest) as caught:
        kernel.fail(**values)
    assert caught.value.field == field
    assert kernel.pending_failures == ()
