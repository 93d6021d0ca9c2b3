"""Whose name servers guests' questions go to: never those of another namespace's loopback."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import Add, Change, DhcpScope
from snnet.dhcp import resolvers
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.system.netns import in_netns, open_netns

STUB = "nameserver 127.0.0.53\noptions edns0 trust-ad\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that name servers come from, elsewhere."""
    (tmp_path / "etc").mkdir()
    monkeypatch.setattr(resolvers, "RESOLV_CONF", tmp_path / "etc/resolv.conf")
    monkeypatch.setattr(resolvers, "OF_NAMESPACES", tmp_path / "etc/netns")
    monkeypatch.setattr(resolvers, "UPSTREAM", tmp_path / "upstream")
    return tmp_path


def _host(files: Path, text: str) -> None:
    (files / "etc/resolv.conf").write_text(text)


def _namespace(files: Path, name: str, text: str) -> None:
    (files / "etc/netns" / name).mkdir(parents=True)
    (files / "etc/netns" / name / "resolv.conf").write_text(text)


def test_the_host_itself_may_ask_its_own_loopback(files: Path) -> None:
    _host(files, f"nameserver 192.0.2.53\n{STUB}")
    fd = open_netns("/proc/self/ns/net")
    found = resolvers.name_servers(fd)
    assert (found.asked, found.left_out) == (("192.0.2.53", "127.0.0.53"), ())


@pytest.mark.kernel
@pytest.mark.parametrize("loopback", ["127.0.0.53", "127.0.0.11", "::1"])
def test_a_loopback_of_another_namespace_is_left_out(
    files: Path, netns: str, loopback: str
) -> None:
    fd = open_netns(netns)
    _host(files, f"nameserver {loopback}\nnameserver 192.0.2.53\n")
    found = resolvers.name_servers(fd)
    assert (found.asked, found.left_out) == (("192.0.2.53",), (loopback,))
    _host(files, f"nameserver {loopback}\n")
    assert resolvers.name_servers(fd).asked == ()
    (files / "upstream").write_text("nameserver 127.0.0.1\nnameserver 198.51.100.53\n")
    assert resolvers.name_servers(fd).asked == ("198.51.100.53",)


@pytest.mark.kernel
@pytest.mark.parametrize("at", ["127.0.0.53", "0.0.0.0", "::"])
def test_a_loopback_with_a_server_in_the_namespace_is_asked(
    files: Path, netns: str, at: str
) -> None:
    fd = open_netns(netns)
    _host(files, STUB)
    family = socket.AF_INET6 if ":" in at else socket.AF_INET
    with in_netns(fd, lambda: socket.socket(family, socket.SOCK_DGRAM)) as server:
        server.bind((at, 53))
        assert resolvers.name_servers(fd).asked == ("127.0.0.53",)
    assert resolvers.name_servers(fd).asked == ()


@pytest.mark.kernel
def test_the_file_of_the_namespace_comes_first(files: Path, netns: str) -> None:
    fd = open_netns(netns)
    assert resolvers.name_of(fd) == netns
    _host(files, STUB)
    _namespace(files, netns, "nameserver 203.0.113.53\nnameserver 127.0.0.1\n")
    found = resolvers.name_servers(fd)
    # Whoever wrote it meant this namespace.
    assert (found.asked, found.left_out) == (("203.0.113.53", "127.0.0.1"), ())


def _served(driver: Dnsmasq, scope: DhcpScope) -> str:
    (path,) = driver.host.runtime.glob(f"dhcp@*@{scope.link}/servers")
    return path.read_text()


@pytest.mark.kernel
def test_dnsmasq_asks_those_and_the_rest_is_reported(
    files: Path, driver: Dnsmasq, scope: DhcpScope, do: Any
) -> None:
    _host(files, STUB)
    do(driver, Add(scope))
    assert _served(driver, scope) == ""
    (line,) = driver.obstacles()
    assert "127.0.0.53" in line
    assert "/etc/netns/" in line
    _host(files, "nameserver 192.0.2.53\n")
    driver.reload(scope)
    assert _served(driver, scope) == "server=192.0.2.53\n"
    assert driver.obstacles() == ()


@pytest.mark.kernel
def test_dhcp_without_dns(lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Any) -> None:
    silent = replace(scope, dns=False, domain="t.example")
    do(driver, Add(silent))
    guest = lan.guest("br0", "02:00:0a:01:00:09")
    lease = guest.lease()
    assert (lease["ip"], lease["dns"], lease["domain"]) == ("10.1.0.9", "", "t.example")
    assert guest.lookup("web", "10.1.0.1") is None
    assert driver.snapshot() == {silent.key: silent}
    loud = replace(silent, dns=True)
    do(driver, Change(loud, silent))
    assert guest.lease()["dns"] == "10.1.0.1"


def test_the_setting_reaches_the_scope() -> None:
    import snnet

    kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.10/24")
    config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"], dns=False)
    with snnet.Cnci(
        "c", config, tenant_id="t1", backend=kernel, firewall="fake", dhcp="fake"
    ) as cnci:
        cnci.init()
        cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
        scope = cnci.topology().subnets[0].scope
        assert not scope.dns
        assert "without dns" in str(scope)
