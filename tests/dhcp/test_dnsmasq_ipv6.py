"""dnsmasq for IPv6: router advertisements and DHCPv6, heard by a real kernel and dhclient."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest

from snnet.contract import Add, Change, DhcpEntry, DhcpScope, Operation
from snnet.contract.addresses import gateway_of
from snnet.dhcp.dnsmasq import Dnsmasq
from tests.dhcp.conftest import Guest, Lan, Servers
from tests.ports import wait_for_link_local

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("dhclient") is None, reason="needs dhclient"),
]

Do = Callable[[Dnsmasq, Operation], None]

MAC, OTHER_MAC = "02:00:00:00:00:09", "02:00:00:00:00:0a"
ADDRESS = IPv6Address("fd00:1::9")
ENTRY = DhcpEntry(mac=MAC, address=ADDRESS)
SUBNETS = {
    "ipv6": (ip_network("fd00:1::/64"),),
    "both": (ip_network("10.1.0.0/24"), ip_network("fd00:1::/64")),
    "small": (ip_network("fd00:1::/120"),),
}

_SCRIPT = """#!/bin/sh
case $reason in
BOUND6) ip -6 address add "$new_ip6_address/128" dev "$interface" nodad
        echo "lease $new_ip6_address $new_dhcp6_name_servers"
        kill $PPID ;;
esac
"""
"""What dhclient runs; it would stay in the foreground until its lease ends."""


def scope_of(subnets: str = "ipv6", **values: object) -> DhcpScope:
    noun = DhcpScope(link="br6", subnets=SUBNETS[subnets], mtu=1400, entries=(ENTRY,))
    return replace(noun, **values)  # type: ignore[arg-type]


@pytest.fixture
def link(lan: Lan, tmp_path: Path) -> Lan:
    """The LAN with a bridge for fd00:1::/64 that can send router advertisements."""
    lan.ip("link", "add", "br6", "type", "bridge")
    lan.ip("link", "set", "br6", "addrgenmode", "none")
    for address in ("fe80::1/64", "fd00:1::1/64", "10.1.0.1/24"):
        nodad = ["nodad"] if ":" in address else []
        lan.ip("address", "add", address, "dev", "br6", *nodad)
    lan.ip("link", "set", "br6", "up")
    return lan


def lease(guest: Guest, folder: Path, tries: int = 40) -> list[str] | None:
    """The address and the name server that the guest gets by DHCPv6, or None."""
    script = folder / "script"
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    wait_for_link_local(guest.netns)  # dhclient ends at once without one
    done = guest.run(
        "timeout", str(tries), "dhclient", "-6", "-1", "-v", "-d", "-D", "LL", "-cf", "/dev/null",
        "-lf", str(folder / f"{guest.netns}.leases"), "-pf", str(folder / "pid"),
        "-sf", str(script), "eth0",
    )  # fmt: skip
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("lease ")]
    return lines[0] if lines else None


PATIENCE = 75.0
"""Seconds: a guest whose three solicitations came too early waits for the next advertisement."""


def wait_for(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.1)


def default_route(guest: Guest) -> list[dict[str, object]]:
    shown = guest.run("ip", "-6", "-json", "route", "show", "default").stdout
    return json.loads(shown or "[]")  # type: ignore[no-any-return]


@pytest.mark.parametrize("subnets", SUBNETS)
def test_a_guest_gets_its_address_and_its_router(
    link: Lan, driver: Dnsmasq, do: Do, tmp_path: Path, subnets: str
) -> None:
    four = DhcpEntry(mac=MAC, address=ip_address("10.1.0.9"))
    do(driver, Add(scope_of(subnets, entries=(four, ENTRY) if subnets == "both" else (ENTRY,))))
    guest = link.guest("br6", MAC)
    assert lease(guest, tmp_path) == [str(ADDRESS), "fd00:1::1"]
    wait_for(lambda: bool(default_route(guest)))
    (route,) = default_route(guest)
    assert (route["gateway"], route["protocol"]) == ("fe80::1", "ra")
    assert guest.run("busybox", "ping", "-6", "-c1", "-W2", "fd00:1::1").returncode == 0
    addresses = json.loads(guest.run("ip", "-6", "-json", "address", "show", "eth0").stdout)
    found = {row["local"] for row in addresses[0]["addr_info"] if row.get("scope") == "global"}
    assert found == {str(ADDRESS)}  # none that the guest made itself
    if subnets == "both":
        assert guest.lease() is not None
    else:
        assert guest.lease(tries=2) is None


def test_what_the_router_says(link: Lan, driver: Dnsmasq, do: Do) -> None:
    """Managed, other, the MTU, the name server, and a prefix that is not autonomous."""
    do(driver, Add(scope_of()))
    guest = link.guest("br6", MAC)
    wait_for(lambda: bool(default_route(guest)))
    assert guest.run("cat", "/proc/sys/net/ipv6/conf/eth0/mtu").stdout.strip() == "1400"
    (prefix,) = [
        row
        for row in json.loads(guest.run("ip", "-6", "-json", "route", "show").stdout)
        if row["dst"] == "fd00:1::/64"
    ]
    assert prefix["protocol"] in ("kernel", "ra")
    assert "fd00:1:" not in guest.run("ip", "-6", "address", "show", "eth0").stdout


def test_a_guest_without_an_entry_gets_nothing(
    link: Lan, driver: Dnsmasq, do: Do, tmp_path: Path
) -> None:
    scope = scope_of()
    do(driver, Add(scope))
    stranger = link.guest("br6", OTHER_MAC)
    assert lease(stranger, tmp_path, tries=4) is None
    wanted = replace(scope, entries=(ENTRY, DhcpEntry(mac=OTHER_MAC, address=ADDRESS + 1)))
    do(driver, Change(wanted, scope))
    assert lease(stranger, tmp_path) == [str(ADDRESS + 1), "fd00:1::1"]


def test_an_address_moves_to_another_guest(
    link: Lan, driver: Dnsmasq, do: Do, tmp_path: Path
) -> None:
    """Also while the first guest has a lease of it."""
    scope = scope_of()
    do(driver, Add(scope))
    assert lease(link.guest("br6", MAC), tmp_path) is not None
    wanted = replace(scope, entries=(DhcpEntry(mac=OTHER_MAC, address=ADDRESS),))
    do(driver, Change(wanted, scope))
    assert lease(link.guest("br6", OTHER_MAC), tmp_path) == [str(ADDRESS), "fd00:1::1"]


def test_leases_and_entries_survive_a_restart(
    link: Lan, driver: Dnsmasq, servers: Servers, do: Do, tmp_path: Path
) -> None:
    scope = scope_of("both")
    do(driver, Add(scope))
    guest = link.guest("br6", MAC)
    assert lease(guest, tmp_path) is not None
    wanted = replace(scope, mtu=1300)
    do(driver, Change(wanted, scope))
    assert lease(guest, tmp_path) == [str(ADDRESS), "fd00:1::1"]
    assert servers.open(link.netns).find(wanted) == wanted


@pytest.mark.parametrize("missing", ["fd00:1::1/64", "10.1.0.1/24"])
def test_a_bridge_without_a_gateway_is_not_served(
    link: Lan, driver: Dnsmasq, do: Do, missing: str
) -> None:
    link.ip("address", "delete", missing, "dev", "br6")
    error = driver.apply([Add(scope_of("both"))]).error
    assert error is not None
    assert missing.partition("/")[0] in str(error)


def test_gateways_are_first_hosts() -> None:
    assert gateway_of(IPv6Network("fd00:1::/64")) == ip_address("fd00:1::1")
