"""What dnsmasq is told, as text; and what is kept to know it again.  No root needed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import DhcpEntry, DhcpScope, InvalidRequest
from snnet.dhcp import resolvers, settings
from snnet.dhcp.account import Account
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.dhcp.record import ScopeRecord
from snnet.system.host import RealHost

SCOPE = DhcpScope(link="br0", subnets=(IPv4Network("10.1.0.0/29"),), mtu=1400)
WEB = DhcpEntry(mac="02:00:00:00:00:77", address=IPv4Address("10.1.0.4"), hostname="web")


def test_command_line() -> None:
    scope = dataclasses.replace(SCOPE, domain="t.example")
    argv = settings.command_line(scope, Path("/run/x"), Account("dnsmasq", "nogroup", 65534))
    assert argv == [
        "dnsmasq",
        "--pid-file=/run/x/pid",
        "--conf-file=/dev/null",
        "--user=dnsmasq",
        "--group=nogroup",
        "--interface=br0",
        "--except-interface=lo",
        "--bind-dynamic",
        "--dhcp-range=10.1.0.0,static,255.255.255.248,12h",
        "--dhcp-lease-max=8",
        "--dhcp-hostsfile=/run/x/hosts",
        "--dhcp-leasefile=/run/x/leases",
        "--dhcp-authoritative",
        "--dhcp-ignore=tag:!known",
        "--dhcp-ignore-clid",
        "--dhcp-ignore-names",
        "--no-ping",
        "--dhcp-option=option:router,10.1.0.1",
        "--dhcp-option=option:dns-server,10.1.0.1",
        "--dhcp-option-force=option:mtu,1400",
        "--no-hosts",
        "--addn-hosts=/run/x/names",
        "--no-resolv",
        "--servers-file=/run/x/servers",
        "--domain-needed",
        "--bogus-priv",
        "--domain=t.example",
        "--local=/t.example/",
        "--expand-hosts",
    ]


def test_hosts_file_has_added_then_generated_entries() -> None:
    scope = dataclasses.replace(SCOPE, entries=(WEB,), reserved=1)
    assert settings.hosts(scope).splitlines() == [
        "02:00:00:00:00:77,10.1.0.4,web",
        "02:00:0a:01:00:03,10.1.0.3",
        "02:00:0a:01:00:05,10.1.0.5",
        "02:00:0a:01:00:06,10.1.0.6",
    ]


def test_a_start_makes_no_object_for_each_address_of_the_subnet() -> None:
    scope = dataclasses.replace(SCOPE, subnets=(IPv4Network("10.1.0.0/20"),))

    def write() -> int:
        return len(settings.hosts(scope)) + len(settings.kept_leases("", scope, scope))

    assert _calls(write) < 200  # for 4,093 addresses


def _calls(work: Callable[[], object]) -> int:
    """Return the number of Python functions that the work calls."""
    events: list[str] = []
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        work()
    finally:
        sys.setprofile(None)
    return events.count("call")


def test_only_named_entries_have_names() -> None:
    nameless = DhcpEntry(mac="02:00:00:00:00:78", address=IPv4Address("10.1.0.5"))
    assert settings.names(dataclasses.replace(SCOPE, entries=(WEB, nameless))) == "10.1.0.4 web\n"


def test_name_servers_come_from_resolv_conf() -> None:
    text = (
        "# nameserver 192.0.2.1\nsearch example\nnameserver 192.0.2.2\n"
        "nameserver 2001:db8::53 # ours\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver\n"
    )
    found = list(resolvers.parse(text))
    assert settings.servers(found) == "server=192.0.2.2\nserver=2001:db8::53\n"
    assert settings.servers([]) == ""


LEASES = """\
1795516578 02:00:0a:01:00:03 10.1.0.3 * 01:02:00:0a:01:00:03
1795516578 02:00:0a:01:00:04 10.1.0.4 guest 01:02:00:0a:01:00:04
duid 00:01:00:01

"""


def test_leases_that_fit_are_kept() -> None:
    first, second, *_ = LEASES.splitlines(keepends=True)
    nameless = second.replace(" guest ", " * ")  # the guest's own choice
    assert settings.kept_leases(LEASES, SCOPE, SCOPE) == first + nameless
    assert settings.kept_leases(LEASES, dataclasses.replace(SCOPE, entries=(WEB,)), SCOPE) == first
    assert settings.kept_leases("", SCOPE, SCOPE) == ""


def test_a_lease_of_somebody_elses_address_is_a_contradiction() -> None:
    assert not settings.is_contradicted(LEASES, SCOPE, SCOPE)
    assert settings.is_contradicted(LEASES, dataclasses.replace(SCOPE, entries=(WEB,)), SCOPE)
    # Reserved now and given to nobody: the guest is unknown, and that will do.
    assert not settings.is_contradicted(LEASES, dataclasses.replace(SCOPE, reserved=3), SCOPE)


def test_leases_of_ipv6_have_no_mac() -> None:
    """What the scope said when it gave an address tells whose lease it is."""
    nine = DhcpEntry(mac="02:00:00:00:00:09", address=IPv6Address("fd00::9"), hostname="web")
    old = dataclasses.replace(SCOPE, subnets=(IPv6Network("fd00::/64"),), entries=(nine,))
    server, held = "duid 00:03:00:01:02:00:00:00:00:01", "1 5 fd00::9 web 00:03:00:01"
    leases = f"{server}\n{held}\n"
    assert settings.kept_leases(leases, old, old) == leases
    other = dataclasses.replace(nine, mac="02:00:00:00:00:0a")
    moved = dataclasses.replace(old, entries=(other,))
    assert settings.kept_leases(leases, moved, old) == f"{server}\n"
    assert settings.is_contradicted(leases, moved, old)
    assert not settings.is_contradicted(leases, dataclasses.replace(old, entries=()), old)


def test_ipv6_is_served_by_advertisements_and_entries() -> None:
    entry = DhcpEntry(mac="02:00:00:00:00:09", address=IPv6Address("fd00::9"), hostname="web")
    scope = dataclasses.replace(SCOPE, subnets=(IPv6Network("fd00::/64"),), entries=(entry,))
    argv = settings.command_line(scope, Path("/run/x"), Account("", "", 0))
    assert "--enable-ra" in argv
    assert "--dhcp-range=fd00::,static,64,12h" in argv
    assert "--ra-param=br0,mtu:1400,60,1800" in argv
    assert "--dhcp-option=option6:dns-server,[fd00::1]" in argv
    assert not any("option:router" in word for word in argv)
    assert settings.hosts(scope) == "02:00:00:00:00:09,[fd00::9],web\n"


def test_a_good_scope_passes() -> None:
    settings.check(dataclasses.replace(SCOPE, entries=(WEB,), domain="a-1.example"))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"subnets": (IPv4Network("10.1.0.0/30"),)}, "subnets"),
        ({"subnets": (IPv4Network("10.0.0.0/15"),)}, "subnets"),
        ({"subnets": (IPv6Network("fd00::/47"),)}, "subnets"),
        ({"subnets": (IPv6Network("fd00::/127"),)}, "subnets"),
        ({"subnets": ()}, "subnets"),
        ({"subnets": (IPv4Network("10.1.0.0/29"), IPv4Network("10.2.0.0/29"))}, "subnets"),
        ({"subnets": (IPv6Network("fd00::/64"), IPv4Network("10.2.0.0/29"))}, "subnets"),
        ({"subnets": (IPv6Network("fd00::/64"),), "mtu": 1279}, "mtu"),
        ({"mtu": 67}, "mtu"),
        ({"mtu": 65536}, "mtu"),
        ({"reserved": -1}, "reserved"),
        ({"domain": ""}, "domain"),
        ({"domain": "a,b"}, "domain"),
        ({"domain": "a\n"}, "domain"),
        ({"link": "br0,br1"}, "link"),
        ({"link": "br*"}, "link"),
        ({"entries": (WEB, dataclasses.replace(WEB, mac="02:00:00:00:00:99"))}, "in 2 entries"),
        ({"entries": (WEB, dataclasses.replace(WEB, address=IPv4Address("10.1.0.5")))}, "mac"),
    ],
)
def test_a_bad_scope_is_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        settings.check(dataclasses.replace(SCOPE, **wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mac": "02:00:00:00:00"},
        {"mac": "02:00:00:00:00:77\n"},
        {"mac": "ignore"},
        *({"address": IPv4Address(f"10.1.0.{last}")} for last in (0, 1, 7, 8)),
        *(
            {"hostname": name}
            for name in ("", "a,b", "a b", "-a", "a-", "a" * 64, "a\n", "ignore", "infinite")
        ),
        *({"hostname": name} for name in ("45", "12h", "5M", "10.1.0.4", "tag:x", "a_b")),
    ],
)
def test_a_bad_entry_is_refused(wrong: dict[str, Any]) -> None:
    entries = (dataclasses.replace(WEB, **wrong),)
    with pytest.raises(InvalidRequest, match="entries"):
        settings.check(dataclasses.replace(SCOPE, entries=entries))


def test_record_reads_back_what_it_wrote() -> None:
    scope = dataclasses.replace(SCOPE, entries=(WEB,), domain="t.example", reserved=2)
    record = ScopeRecord(7, scope)
    assert ScopeRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}', "nonsense"])
def test_what_is_not_a_record_is_reported(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the parser's
        ScopeRecord.from_json(text)


def test_a_prefix_that_dnsmasq_refuses_is_said_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnet.dhcp.dnsmasq.find_program", lambda name: name)
    driver = Dnsmasq(RealHost())
    long, short = (
        DhcpScope(link="br6", subnets=(IPv6Network(subnet),), mtu=1400)
        for subnet in ("fd00:1::/64", "fd00:1::/63")
    )
    assert driver.missing(long) is None
    assert driver.missing(short) == (
        "dnsmasq cannot serve fd00:1::/63: choose an IPv6 subnet of /64 or longer"
    )
