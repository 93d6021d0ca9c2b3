"""Drivers by name and listeners by entry point: others' mistakes stay theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import snnet
from snnet import plugins
from tests.distributions import install, on_the_path


def test_a_driver_by_name_is_open_on_its_host() -> None:
    kernel = snnet.FakeKernel()
    driver = plugins.open_driver(plugins.FIREWALLS, "fake", kernel)
    assert driver.host is kernel


def test_an_unknown_name_lists_those_installed() -> None:
    with pytest.raises(snnet.DriverNotFound, match=r"no backend 'nil'.*fake, .*netlink"):
        plugins.open_driver(plugins.BACKENDS, "nil", snnet.FakeKernel())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nobody_has_this", "cannot be loaded: .*nobody_has_this"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("def Driver(host): raise OSError('no')", "cannot be opened: OSError: no"),
        ("def Driver(host): return {}", "returned a dict, not a snnet Driver"),
    ],
)
def test_a_driver_that_cannot_be_opened_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    module = f"bad_{abs(hash(source))}"
    install(tmp_path, "bad", {"snnet.backends": {"bad": f"{module}:Driver"}}, {module: source})
    on_the_path(monkeypatch, tmp_path)
    with pytest.raises(snnet.DriverLoadError, match=f"backend 'bad' {said}"):
        plugins.open_driver(plugins.BACKENDS, "bad", snnet.FakeKernel())


def test_errors_of_snnet_pass_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import snnet\ndef Driver(host): raise snnet.Unsupported('this kernel is too old')"
    groups = {"snnet.backends": {"old": "too_old:Driver"}}
    install(tmp_path, "too-old", groups, {"too_old": source})
    on_the_path(monkeypatch, tmp_path)
    with pytest.raises(snnet.Unsupported, match="too old"):
        plugins.open_driver(plugins.BACKENDS, "old", snnet.FakeKernel())


def test_metadata_that_cannot_be_read_hide_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "bare", {"snnet.backends": {"bare": "bare:Driver"}})
    (tmp_path / "bare-1.0.dist-info" / "METADATA").unlink()
    on_the_path(monkeypatch, tmp_path)
    found = {entry.name: entry for entry in plugins.catalogue(plugins.BACKENDS)}
    assert (found["bare"].distribution, found["bare"].version) == ("unknown", "")
    assert {"fake", "netlink"} <= set(found)


# Listeners

LISTENERS = """
heard = []

class Class:
    def applied(self, plan):
        heard.append("class")

class WrongArguments:
    def applied(self, plan):
        heard.append("never")
    def failed(self, colour):
        pass

class Constructor:
    def __init__(self, argument):
        pass

def applied(plan):
    heard.append("module")
"""


def _create(listeners: list[Any]) -> None:
    """One VNIC on a node of its own."""
    config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
    with snnet.ComputeNode(
        "cn-1", config, backend="fake", firewall="none", listeners=listeners
    ) as node:
        node.init()
        node.create_vnic(
            snnet.VnicConfig(
                tenant_id="t1", subnet_id="s1", vnic_id="v1", instance_id="i1",
                concentrator_id="cnci-1", concentrator_ip="192.0.2.10",
                subnet="10.1.0.0/24", subnet_key=7, ip="10.1.0.9",
            )
        )  # fmt: skip


def test_installed_listeners_are_called_and_broken_ones_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    values = {
        "a-gone": "listeners_gone",
        "b-constructor": "listeners_here:Constructor",
        "c-arguments": "listeners_here:WrongArguments",
        "d-class": "listeners_here:Class",
        "e-module": "listeners_here",
    }
    install(tmp_path, "listeners", {plugins.LISTENERS: values}, {"listeners_here": LISTENERS})
    on_the_path(monkeypatch, tmp_path)
    try:
        _create([])
    finally:
        plugins._installed_listeners.cache_clear()
    import listeners_here  # type: ignore[import-not-found]

    assert sorted(listeners_here.heard) == ["class", "module"]
    assert "listeners_gone cannot be loaded" in caplog.text
    assert "listeners_here:Constructor cannot be loaded" in caplog.text
    assert "WrongArguments" in caplog.text


def test_a_listener_with_unknown_arguments_is_refused() -> None:
    class Wrong:
        def applied(self, colour: str) -> None: ...

    with pytest.raises(snnet.InvalidRequest, match=r"listeners: .*colour"):
        _create([Wrong()])


def test_the_hooks_are_those_that_are_documented() -> None:
    documented = [name for name in vars(plugins.Hooks) if not name.startswith("_")]
    assert documented == list(plugins.HOOKS)
    assert all(getattr(plugins.Hooks, name).__doc__ for name in plugins.HOOKS)
