"""Adding entries one by one: at a flat cost, whole after any interruption."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import Add, Change, DhcpEntry, DhcpScope
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.dhcp.record import ScopeRecord, more

pytestmark = pytest.mark.kernel

LARGE = DhcpScope(link="br9", subnets=(IPv4Network("10.9.0.0/16"),), mtu=1400)


def _entry(number: int) -> DhcpEntry:
    mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    return DhcpEntry(mac=mac, address=IPv4Address(0x0A090100 + number), hostname=f"vm-{number}")


def _with(scope: DhcpScope, *entries: DhcpEntry) -> DhcpScope:
    return replace(scope, entries=(*scope.entries, *entries))


@pytest.fixture
def large(lan: Any, driver: Dnsmasq, do: Any) -> DhcpScope:
    lan.bridge("br9", "10.9.0.0/16")
    do(driver, Add(LARGE))
    return LARGE


def _folder(driver: Dnsmasq) -> Path:
    (path,) = driver.host.runtime.glob("dhcp@*@br9")
    return path


def _adding(driver: Dnsmasq, do: Any, scope: DhcpScope, first: int, count: int) -> DhcpScope:
    for number in range(first, first + count):
        new = _with(scope, _entry(number))
        do(driver, Change(new, scope))
        scope = new
    return scope


def test_one_more_entry_costs_about_the_same(
    lan: Any, driver: Dnsmasq, large: DhcpScope, do: Any
) -> None:
    def costs(scope: DhcpScope, first: int) -> tuple[DhcpScope, int]:
        """The scope with one entry more, and the function calls that this took."""
        new, calls = _with(scope, _entry(first)), [0]

        def count(frame: object, event: str, argument: object) -> None:
            calls[0] += event == "call"

        sys.setprofile(count)
        try:
            do(driver, Change(new, scope))
        finally:
            sys.setprofile(None)
        return new, calls[0]

    scope, few = costs(_adding(driver, do, large, 0, 5), 5)
    many = _with(scope, *map(_entry, range(100, 1500)))
    do(driver, Change(many, scope))
    scope, later = costs(_adding(driver, do, many, 1500, 5), 1505)
    assert later < few + 1.1 * len(many.entries), "one look for duplicates, and no other"
    assert driver.snapshot() == {scope.key: scope}
    last = _entry(1505)
    lease = lan.guest("br9", last.mac).lease()
    assert (lease["ip"], lease["hostname"]) == (str(last.address), "vm-1505")


def test_another_process_reads_what_was_added_and_goes_on(
    lan: Any, servers: Any, driver: Dnsmasq, large: DhcpScope, do: Any
) -> None:
    scope = _adding(driver, do, large, 0, 5)
    other = servers.open(lan.netns)
    assert other.snapshot() == {scope.key: scope}
    scope = _adding(other, do, scope, 5, 3)
    assert driver.snapshot() == {scope.key: scope}
    # The first one's files are not as it wrote them: it writes them anew.
    scope = _adding(driver, do, scope, 8, 2)
    hosts = (_folder(driver) / "hosts").read_text().splitlines()
    assert hosts == [f"{_entry(n).mac},{_entry(n).address},vm-{n}" for n in range(10)]
    assert other.snapshot() == {scope.key: scope}


@pytest.mark.parametrize("file", ["hosts", "names", "scope.json"])
def test_half_an_appended_line_is_written_over(
    driver: Dnsmasq, large: DhcpScope, do: Any, file: str
) -> None:
    scope = _adding(driver, do, large, 0, 3)
    with open(_folder(driver) / file, "a") as out:
        out.write('["52:54:00:00:ff')  # killed in the middle
    # What dnsmasq would read again is named; of its own record only whole lines count.
    faults = () if file == "scope.json" else (f"file {file}",)
    assert driver.snapshot() == {scope.key: replace(scope, faults=faults)}
    scope = _adding(driver, do, scope, 3, 2)
    assert driver.snapshot() == {scope.key: scope}
    assert len((_folder(driver) / "hosts").read_text().splitlines()) == 5


def test_other_changes_after_added_entries(driver: Dnsmasq, large: DhcpScope, do: Any) -> None:
    scope = _adding(driver, do, large, 0, 4)
    fewer = replace(scope, entries=(scope.entries[0], *scope.entries[2:]))
    do(driver, Change(fewer, scope))
    assert driver.snapshot() == {fewer.key: fewer}
    moved = replace(fewer, mtu=1300)
    do(driver, Change(moved, fewer))
    assert driver.snapshot() == {moved.key: moved}
    moved = _adding(driver, do, moved, 20, 2)
    assert driver.snapshot() == {moved.key: moved}


def test_a_record_reads_back_with_the_lines_that_were_added() -> None:
    record = ScopeRecord(3, _with(LARGE, _entry(1)))
    text = record.to_json() + more([_entry(2), _entry(3)])
    whole = ScopeRecord(3, _with(LARGE, *map(_entry, (1, 2, 3))))
    assert ScopeRecord.from_json(text) == whole
    assert ScopeRecord.from_json(text + '["52:5') == whole
    assert ScopeRecord.from_json(text.rstrip()).scope.entries == whole.scope.entries[:2]
    with pytest.raises(ValueError, match="not a record"):
        ScopeRecord.from_json(text + "5\n")


# -- a server whose folder is lost -----------------------------------------------------


def test_a_start_that_fails_leaves_the_running_server_alone(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = driver.pid(served)
    (folder,) = driver.host.runtime.glob("dhcp@*@br0")
    shutil.rmtree(folder)
    assert driver.snapshot() == {}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("snnet.dhcp.folder.Folder.write", full)
        assert driver.apply([Add(served)]).error is not None
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"dnsmasq")
    assert not folder.exists()
    assert lan.guest("br0", "02:00:0a:01:00:09").lease() is not None
    do(driver, Add(served))
    assert driver.pid(served) not in (None, pid)
    assert lan.guest("br0", "02:00:0a:01:00:0a").lease() is not None
