"""Which drivers a node opens, on which host, and what it closes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest

import snnet
from snnet import plugins
from snnet.backends.fake import FakeDhcp, FakeFirewall
from snnet.contract import Driver, Host
from snnet.system.host import RealHost
from snnet.system.netns import is_current
from tests.node.world import FakeWorld, vm

CONFIG = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])


@pytest.mark.parametrize("make", [FakeWorld.node, FakeWorld.cnci])
def test_the_defaults_of_nodes_are_the_documented_ones(
    fake: FakeWorld, make: Callable[[FakeWorld], snnet.ComputeNode | snnet.Cnci]
) -> None:
    """docs/libsnnet.md has those of libsnnet."""
    role = type(make(fake))
    defaults = {name: item.default for name, item in inspect.signature(role).parameters.items()}
    expected = {
        "backend": "netlink",
        "firewall": "nftables",
        "netns": None,
        "api_timeout": 6.0,
        "max_api_concurrency": 8,
        "read_only": False,
        "listeners": (),
        **({"dhcp": "dnsmasq"} if role is snnet.Cnci else {}),
    }
    assert defaults | expected == defaults


def test_a_concentrator_needs_a_dhcp_driver(fake: FakeWorld) -> None:
    with pytest.raises(snnet.InvalidRequest, match="a concentrator needs a DHCP driver") as caught:
        fake.cnci(dhcp=None)
    assert caught.value.field == "dhcp"


class Opened:
    """What a node opened by name, on which hosts, and what of it is still open."""

    def __init__(self) -> None:
        self.hosts: dict[tuple[str, str], Host] = {}
        self.closed: list[str] = []

    def open_driver(self, group: str, name: str, host: Host) -> Driver:
        self.hosts[group, name] = host
        kernel = snnet.FakeKernel()
        driver: Any = kernel
        if group != plugins.BACKENDS:
            driver = FakeDhcp(kernel) if group == plugins.DHCP else FakeFirewall(kernel)
        if name == "real":
            driver.host = host
        driver.close = lambda: self.closed.append(name)
        assert isinstance(driver, Driver)
        return driver


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    made = Opened()
    monkeypatch.setattr(plugins, "open_driver", made.open_driver)
    return made


def test_a_node_opens_the_documented_drivers_unless_it_is_told_others(opened: Opened) -> None:
    drivers = [(plugins.BACKENDS, "netlink"), (plugins.FIREWALLS, "nftables")]
    with snnet.ComputeNode("cn-1", CONFIG) as node:
        assert [*opened.hosts] == drivers
        assert node.api_timeout == 6
    with snnet.Cnci("cnci-1", CONFIG, tenant_id="t1") as cnci:
        assert [*opened.hosts] == [*drivers, (plugins.DHCP, "dnsmasq")]
        assert cnci.api_timeout == 6


@pytest.mark.parametrize("netns", [None, "/proc/self/ns/net"])
def test_drivers_by_name_are_open_on_the_host_of_the_backend(
    opened: Opened, netns: str | None
) -> None:
    options: Any = {"backend": "real", "firewall": "wall", "dhcp": "server", "netns": netns}
    node = snnet.Cnci("cnci-1", CONFIG, tenant_id="t1", **options)
    assert [*opened.hosts] == [
        (plugins.BACKENDS, "real"),
        (plugins.FIREWALLS, "wall"),
        (plugins.DHCP, "server"),
    ]
    host, *others = opened.hosts.values()
    assert others == [host, host]
    assert isinstance(host, RealHost)
    assert (host.owner, host.networks) == ("cnci:cnci-1", (ip_network("192.0.2.0/24"),))
    assert is_current(host.netns.fd)
    assert opened.closed == []
    node.close()
    assert opened.closed == ["server", "wall", "real"]
    assert host.netns.fd == -1


def test_a_node_that_cannot_be_opened_leaves_nothing_open(opened: Opened) -> None:
    with pytest.raises(snnet.InvalidRequest, match="7 is neither the name of a driver") as caught:
        snnet.ComputeNode("cn-1", CONFIG, backend="real", firewall=7)  # type: ignore[arg-type]
    assert caught.value.field == "firewall"
    (host,) = opened.hosts.values()
    assert opened.closed == ["real"]
    assert host.netns.fd == -1


@pytest.mark.parametrize("role", [snnet.ComputeNode, partial(snnet.Cnci, tenant_id="t1")])
def test_a_namespace_that_is_not_there_is_refused_before_anything_is_opened(
    opened: Opened, role: Callable[..., object]
) -> None:
    with pytest.raises(snnet.InvalidRequest) as caught:
        role("n-1", CONFIG, backend="real", netns="nowhere")
    assert caught.value.field == "netns"
    assert opened.hosts == {}


class Shared(snnet.FakeKernel):
    """A host that other processes may have, and this one may not."""

    def __init__(self) -> None:
        super().__init__()
        self.add_uplink("eth0", "192.0.2.11/24")
        self.denied = False
        self.claims: list[float] = []

    def check_allowed(self) -> None:
        if self.denied:
            raise snnet.Denied("not permitted")

    @contextmanager
    def claim(self, timeout: float, owner: str | None = None) -> Iterator[None]:
        self.claims.append(timeout)
        try:
            yield
        finally:
            self.claims.remove(timeout)


def test_a_node_has_its_host_to_itself_from_init_to_close() -> None:
    """Not so one that only looks on, and one that may not change the host."""
    kernel = Shared()
    options: dict[str, Any] = {"backend": kernel, "firewall": "fake"}
    with snnet.ComputeNode("cn-1", CONFIG, **options, api_timeout=7) as node:
        assert kernel.claims == []
        node.init()
        assert kernel.claims == [7]
        kernel.denied = True
        with snnet.ComputeNode("cn-1", CONFIG, **options, read_only=True) as watcher:
            watcher.init()
            assert kernel.claims == [7]
    assert kernel.claims == []
    with snnet.ComputeNode("cn-1", CONFIG, **options) as node:
        with pytest.raises(snnet.Denied):
            node.init()
        assert kernel.claims == []


def test_a_node_that_only_removes_has_its_host_to_itself_meanwhile() -> None:
    kernel = Shared()
    config = snnet.NetworkConfig(compute_nets=["198.51.100.0/24"])
    claimed: list[float] = []

    class Recorder:
        def before_apply(self) -> None:
            claimed.extend(kernel.claims)

    options: dict[str, Any] = {"backend": kernel, "firewall": "fake"}
    with snnet.ComputeNode("cn-1", CONFIG, **options) as node:
        node.init()
        node.create_vnic(vm(9))
    options["listeners"] = [Recorder()]
    with snnet.ComputeNode("cn-1", config, **options, api_timeout=7) as node:
        with pytest.raises(snnet.InvalidRequest, match="compute_nets"):
            node.init()
        assert kernel.claims == []
        node.reset_network()
        assert (claimed, kernel.claims) == ([7], [])


def test_a_backend_that_is_open_has_its_own_namespace(opened: Opened) -> None:
    with pytest.raises(snnet.InvalidRequest, match="leave netns out") as caught:
        snnet.ComputeNode("cn-1", CONFIG, backend=snnet.FakeKernel(), netns="/proc/self/ns/net")
    assert caught.value.field == "netns"
    assert opened.hosts == {}
