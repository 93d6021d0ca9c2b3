"""The dnsmasq driver with real guests: leases, names, reloads, restarts."""

from __future__ import annotations

import dataclasses
import os
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from snnet.contract import (
    Add,
    Busy,
    Change,
    DhcpEntry,
    DhcpScope,
    Exists,
    InvalidRequest,
    Missing,
    Operation,
    Remove,
)
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.system.netns import in_netns
from tests.dhcp.restart import restart

pytestmark = pytest.mark.kernel

Do = Callable[[Dnsmasq, Operation], None]
MAC = "02:00:0a:01:00:09"
STRANGE_MAC = "02:00:00:00:00:77"
WEB = DhcpEntry(mac=STRANGE_MAC, address=IPv4Address("10.1.0.77"), hostname="web")


def test_guest_gets_address_router_mtu_and_name_server(lan: Any, served: DhcpScope) -> None:
    lease = lan.guest("br0", MAC).lease()
    assert lease == {
        "ip": "10.1.0.9",
        "subnet": "255.255.255.0",
        "router": "10.1.0.1",
        "dns": "10.1.0.1",
        "mtu": "1400",
        "hostname": "",
        "domain": "",
    }


def test_unknown_mac_gets_nothing(lan: Any, served: DhcpScope) -> None:
    assert lan.guest("br0", STRANGE_MAC).lease(tries=2) is None


def test_unknown_mac_is_not_even_refused(lan: Any, served: DhcpScope) -> None:
    known, unknown = lan.guest("br0", MAC), lan.guest("br0", STRANGE_MAC)
    assert _answer_to_request(known, MAC) == 6, "a wrong address: DHCPNAK"
    assert _answer_to_request(unknown, STRANGE_MAC) is None


def test_the_gateway_answers_at_once(lan: Any, served: DhcpScope) -> None:
    guest = lan.guest("br0", MAC)
    started = time.monotonic()
    assert guest.lease() is not None
    assert time.monotonic() - started < 2.5


def test_added_entry_is_served_after_a_reload(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    guest = lan.guest("br0", STRANGE_MAC)
    assert guest.lease(tries=1) is None
    pid = driver.pid(served)
    more = dataclasses.replace(served, entries=(WEB,))
    do(driver, Change(more, served))
    assert driver.pid(more) == pid, "a reload must do"
    lease = guest.lease()
    assert lease is not None
    assert (lease["ip"], lease["hostname"]) == ("10.1.0.77", "web")
    assert driver.find(served) == more
    assert lan.guest("br0", MAC).lease() is not None, "the others must not be forgotten"


def test_entries_survive_reload_and_restart(
    lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Do
) -> None:
    scope = dataclasses.replace(scope, entries=(WEB,))
    do(driver, Add(scope))
    guest = lan.guest("br0", STRANGE_MAC)
    driver.reload(scope)
    assert guest.lease() is not None
    restart(driver, scope)
    assert guest.lease() is not None
    assert driver.snapshot() == {scope.key: scope}


def test_an_address_given_to_another_guest_is_free_at_once(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    assert lan.guest("br0", MAC).lease() is not None
    entry = DhcpEntry(mac=STRANGE_MAC, address=IPv4Address("10.1.0.9"))
    do(driver, Change(dataclasses.replace(served, entries=(entry,)), served))
    lease = lan.guest("br0", STRANGE_MAC).lease()
    assert lease is not None
    assert lease["ip"] == "10.1.0.9"


def test_names_resolve_with_and_without_domain(
    lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Do
) -> None:
    scope = dataclasses.replace(scope, entries=(WEB,), domain="tenant.example")
    do(driver, Add(scope))
    other = lan.guest("br0", MAC, address="10.1.0.9/24")
    assert other.lookup("web", "10.1.0.1") == "10.1.0.77", "before it has its lease"
    lease = lan.guest("br0", STRANGE_MAC).lease()
    assert lease is not None
    assert lease["domain"] == "tenant.example"
    assert other.lookup("web", "10.1.0.1") == "10.1.0.77"
    assert other.lookup("web.tenant.example", "10.1.0.1") == "10.1.0.77"
    assert other.lookup("nothing.tenant.example", "10.1.0.1") is None


def test_changed_mtu_and_domain_take_a_restart(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    guest = lan.guest("br0", MAC)
    assert guest.lease() is not None
    pid = driver.pid(served)
    new = dataclasses.replace(served, mtu=1300, domain="other.example")
    do(driver, Change(new, served))
    assert driver.pid(new) not in (None, pid)
    lease = guest.lease()
    assert lease is not None
    assert (lease["mtu"], lease["domain"]) == ("1300", "other.example")


def test_reserved_addresses_are_not_leased(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    do(driver, Change(dataclasses.replace(served, reserved=8), served))
    assert lan.guest("br0", MAC).lease(tries=1) is None
    assert lan.guest("br0", "02:00:0a:01:00:0a").lease() is not None


@pytest.mark.parametrize("subnet", ["10.1.0.0/29", "10.16.0.0/20", "10.20.0.0/16"])
def test_smallest_and_largest_subnets(lan: Any, driver: Dnsmasq, do: Do, subnet: str) -> None:
    network = IPv4Network(subnet)
    lan.bridge("br9", subnet)
    last = network.broadcast_address - 1
    mac = "02:00:" + last.packed.hex(":")
    entries = (DhcpEntry(mac=mac, address=last),) if network.prefixlen < 20 else ()
    do(driver, Add(DhcpScope(link="br9", subnets=(network,), mtu=1400, entries=entries)))
    lease = lan.guest("br9", mac).lease()
    assert lease is not None
    assert lease["ip"] == str(last)


def test_more_than_a_thousand_leases(lan: Any, driver: Dnsmasq, do: Do) -> None:
    network = IPv4Network("10.16.0.0/20")
    lan.bridge("br9", "10.16.0.0/20")
    scope = DhcpScope(link="br9", subnets=(network,), mtu=1400)
    do(driver, Add(scope))
    path = next(driver.host.runtime.glob("*@br9"))
    lines = [f"0 {e.mac} {e.address} * 01:{e.mac}" for e in list(scope.leases())[:2000]]
    (path / "leases").write_text("\n".join(lines) + "\n")
    restart(driver, scope)
    lease = lan.guest("br9", "02:00:0a:10:0f:01").lease()
    assert lease is not None, "dnsmasq's own limit is 1000 leases"


def test_restarts_20_times_in_a_row(lan: Any, driver: Dnsmasq, served: DhcpScope) -> None:
    guest = lan.guest("br0", MAC, address="10.1.0.9/24")
    assert guest.lease() is not None
    pids = {driver.pid(served)}
    for _ in range(20):
        restart(driver, served)
        pids.add(driver.pid(served))
    assert len(pids) == 21
    assert None not in pids
    assert guest.lease() is not None


def test_scopes_and_owners_live_side_by_side(
    lan: Any, servers: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    lan.bridge("br1", "10.2.0.0/24")
    lan.bridge("br2", "10.3.0.0/24")
    second = DhcpScope(link="br1", subnets=(IPv4Network("10.2.0.0/24"),), mtu=1400)
    do(driver, Add(second))
    foreign = servers.open(lan.netns, owner="cnci:c10")
    third = DhcpScope(link="br2", subnets=(IPv4Network("10.3.0.0/24"),), mtu=1400)
    do(foreign, Add(third))
    for bridge, mac in (("br0", MAC), ("br1", "02:00:0a:02:00:09"), ("br2", "02:00:0a:03:00:09")):
        assert lan.guest(bridge, mac).lease() is not None
    assert driver.snapshot() == {served.key: served, second.key: second}
    assert foreign.snapshot() == {third.key: third}
    assert driver.find(third) is None
    do(driver, Remove(served))
    assert lan.guest("br1", "02:00:0a:02:00:0a").lease() is not None


def test_name_server_answers_on_its_bridge_only(
    lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Do
) -> None:
    do(driver, Add(dataclasses.replace(scope, entries=(WEB,))))
    lan.bridge("br1", "10.2.0.0/24")
    neighbour = lan.guest("br1", "02:00:0a:02:00:09", address="10.2.0.9/24")
    neighbour.ip("route", "add", "10.1.0.0/24", "via", "10.2.0.1")
    assert neighbour.run("ping", "-c1", "-w10", "10.1.0.1").returncode == 0
    assert neighbour.lookup("web", "10.1.0.1") is None
    assert lan.guest("br0", MAC, address="10.1.0.9/24").lookup("web", "10.1.0.1") is not None


def test_same_bridge_name_in_two_namespaces(
    lan: Any, servers: Any, driver: Dnsmasq, served: DhcpScope, make_netns: Any, do: Do
) -> None:
    elsewhere = type(lan)(make_netns)
    elsewhere.bridge("br0", "10.1.0.0/24")
    other = servers.open(elsewhere.netns)
    assert other.snapshot() == {}
    do(other, Add(served))
    assert other.pid(served) != driver.pid(served)
    do(other, Remove(served))
    assert driver.find(served) == served


def test_add_is_strict(driver: Dnsmasq, served: DhcpScope) -> None:
    pid = driver.pid(served)
    assert isinstance(driver.apply([Add(served)]).error, Exists)
    assert driver.pid(served) == pid


def test_change_and_remove_need_it_running(driver: Dnsmasq, scope: DhcpScope) -> None:
    changed = dataclasses.replace(scope, mtu=1300)
    assert isinstance(driver.apply([Change(changed, scope)]).error, Missing)
    assert isinstance(driver.apply([Remove(scope)]).error, Missing)
    with pytest.raises(Missing):
        driver.reload(scope)
    with pytest.raises(Missing):
        restart(driver, scope)
    assert driver.pid(scope) is None


def test_a_bridge_without_the_gateway_address_is_refused(
    lan: Any, driver: Dnsmasq, scope: DhcpScope
) -> None:
    lan.ip("address", "flush", "dev", "br0")
    lan.ip("address", "add", "10.1.0.2/24", "dev", "br0")
    error = driver.apply([Add(scope)]).error
    assert isinstance(error, Missing)
    assert "br0 has no address 10.1.0.1" in str(error)
    assert list(driver.host.runtime.iterdir()) == []


def test_one_of_several_addresses_will_do(lan: Any, driver: Dnsmasq, do: Do) -> None:
    lan.ip("address", "add", "10.9.0.1/24", "dev", "br0")
    do(driver, Add(DhcpScope(link="br0", subnets=(IPv4Network("10.9.0.0/24"),), mtu=1400)))
    assert lan.guest("br0", "02:00:0a:09:00:09").lease() is not None


def test_a_port_in_use_is_reported_and_leaves_nothing(
    lan: Any, servers: Any, served: DhcpScope
) -> None:
    other = servers.open(lan.netns, owner="cnci:other")
    error = other.apply([Add(served)]).error
    assert isinstance(error, Busy)
    assert "10.1.0.1" in str(error)
    assert "Address already in use" in str(error)
    assert other.snapshot() == {}
    assert len(list(servers.runtime.iterdir())) == 1


def test_a_failed_change_leaves_it_as_it_was(
    lan: Any, driver: Dnsmasq, served: DhcpScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnet.dhcp import settings

    def broken(scope: DhcpScope, *rest: Any) -> list[str]:
        argv = right(scope, *rest)
        return [*argv, "--no-such-option"] if scope.mtu == 1300 else argv

    right = settings.command_line
    monkeypatch.setattr(settings, "command_line", broken)
    error = driver.apply([Change(dataclasses.replace(served, mtu=1300), served)]).error
    assert error is not None
    assert "bad command line options" in str(error)
    assert driver.snapshot() == {served.key: served}
    assert lan.guest("br0", MAC).lease() is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"subnets": (IPv4Network("10.1.0.0/30"),)},
        {"subnets": (IPv4Network("10.0.0.0/15"),)},
        {"entries": (dataclasses.replace(WEB, hostname="a\nb"),)},
        {"domain": "a/b"},
        {"link": "br*"},
    ],
)
def test_what_dnsmasq_would_misread_is_refused(
    driver: Dnsmasq, scope: DhcpScope, wrong: dict[str, Any]
) -> None:
    assert isinstance(
        driver.apply([Add(dataclasses.replace(scope, **wrong))]).error, InvalidRequest
    )
    assert list(driver.host.runtime.iterdir()) == []


def test_work_ends_at_the_first_error_unless_keep_going(driver: Dnsmasq, served: DhcpScope) -> None:
    gone = dataclasses.replace(served, link="br9")
    outcome = driver.apply([Remove(gone), Remove(served)])
    assert (outcome.done, list(outcome.errors)) == (set(), [0])
    outcome = driver.apply([Remove(gone), Remove(served)], keep_going=True)
    assert (outcome.done, list(outcome.errors)) == ({1}, [0])


def test_commands_show_what_would_run(driver: Dnsmasq, scope: DhcpScope) -> None:
    mkdir, start = driver.commands(Add(scope)) or []
    assert mkdir.startswith("mkdir -m 0750 ")
    assert start.startswith("dnsmasq --pid-file=")
    reload = driver.commands(Change(dataclasses.replace(scope, entries=(WEB,)), scope)) or []
    assert [line[:9] for line in reload] == ["kill -HUP"]
    assert len(driver.commands(Change(dataclasses.replace(scope, mtu=9), scope)) or []) == 2
    assert len(driver.commands(Remove(scope)) or []) == 2
    assert os.listdir(driver.host.runtime) == []


def _answer_to_request(guest: Any, mac: str) -> int | None:
    """Type of the answer to a DHCPREQUEST for a wrong address, as after a reboot (RFC 2131)."""
    wrong = IPv4Address("10.1.0.222").packed
    return _send(guest, mac, b"\x35\x01\x03" + b"\x32\x04" + wrong)


def _send(guest: Any, mac: str, options: bytes, holds: str = "0.0.0.0") -> int | None:
    """Send a message with these options to the server; return the type of its answer."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    head = struct.pack("!4BIHH", 1, 1, 6, 0, 4711, 0, 0x8000)
    head += IPv4Address(holds).packed.ljust(16, b"\0") + hardware.ljust(208, b"\0")

    def ask() -> int | None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            sock.bind(("", 68))
            sock.settimeout(1)
            message = head + b"\x63\x82\x53\x63" + options + b"\xff"
            sock.sendto(message, ("255.255.255.255", 67))
            try:
                return sock.recv(1500)[242]  # after the cookie: option 53, length 1, the type
            except TimeoutError:
                return None

    with open(f"/run/netns/{guest.netns}") as namespace:
        return in_netns(namespace.fileno(), ask)


def _leases(driver: Dnsmasq) -> str:
    (leases,) = driver.host.runtime.rglob("leases")
    return leases.read_text()


RELEASE, DECLINE = 7, 4


@pytest.mark.parametrize("kind", [RELEASE, DECLINE])
def test_a_client_id_gives_up_nobody_elses_lease(
    lan: Any, driver: Dnsmasq, served: DhcpScope, kind: int
) -> None:
    """The attacker's own MAC, which the guard at its port lets pass, and a neighbour's id."""
    victim, attacker = lan.guest("br0", MAC), lan.guest("br0", "02:00:0a:01:00:0a")
    lease = victim.lease()
    assert lease is not None
    assert attacker.lease() is not None
    before = _leases(driver)
    client_id = b"\x3d\x07\x01" + bytes.fromhex(MAC.replace(":", ""))
    server = b"\x36\x04" + IPv4Address("10.1.0.1").packed
    asked = b"\x32\x04" + IPv4Address(lease["ip"]).packed
    message = bytes([53, 1, kind]) + server + asked + client_id
    _send(attacker, "02:00:0a:01:00:0a", message, lease["ip"])
    assert [line for line in before.splitlines() if MAC in line] == [
        line for line in _leases(driver).splitlines() if MAC in line
    ]
    assert victim.lease() == lease


@pytest.mark.parametrize("name", ["wpad", "isatap", "web"])
def test_guests_choose_no_names(
    lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Do, name: str
) -> None:
    scope = dataclasses.replace(scope, entries=(WEB,), domain="tenant.example")
    do(driver, Add(scope))
    before = lan.guest("br0", MAC, address="10.1.0.9/24").lookup(name, "10.1.0.1")
    other = lan.guest("br0", "02:00:0a:01:00:0a", address="10.1.0.10/24")
    assert other.lease(15, "-x", f"hostname:{name}") is not None
    for asked in (name, f"{name}.tenant.example"):
        assert other.lookup(asked, "10.1.0.1") == before == ("10.1.0.77" if name == "web" else None)
