"""The life of a dnsmasq: who may end it, what outlives whom, what is left on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from errno import EPERM
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import Add, Change, Denied, DhcpEntry, DhcpScope, Missing, Operation, Remove
from snnet.dhcp import server
from snnet.dhcp.account import serving_account
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.dhcp.server import Server
from snnet.dhcp.service import Service
from snnet.system.netns import in_netns
from tests.dhcp.restart import restart

pytestmark = pytest.mark.kernel

Do = Callable[[Dnsmasq, Operation], None]
MAC = "02:00:0a:01:00:09"
WEB = DhcpEntry(mac="02:00:00:00:00:77", address=IPv4Address("10.1.0.77"), hostname="web")


def test_folder_is_for_root_and_dnsmasq_only(driver: Dnsmasq, served: DhcpScope) -> None:
    gid = serving_account().gid
    status = _folder(driver).lstat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, gid, 0o750)
    for name in ("hosts", "names", "servers", "leases", "scope.json"):
        file = (_folder(driver) / name).lstat()
        assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)) == (0, gid, 0o640)


def test_dnsmasq_drops_root(driver: Dnsmasq, served: DhcpScope) -> None:
    text = Path(f"/proc/{driver.pid(served)}/status").read_text()
    uids = next(line.split()[1:] for line in text.splitlines() if line.startswith("Uid:"))
    assert "0" not in uids


def test_dnsmasq_keeps_nothing_of_ours(driver: Dnsmasq, served: DhcpScope) -> None:
    pid = driver.pid(served)
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    opened = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    assert not any("inotify" in target for target in opened), "a user has but 128 of them"


def test_an_alarm_tells_of_its_end_and_of_its_files(driver: Dnsmasq, served: DhcpScope) -> None:
    """Leases are no change; another hosts file and the end of the process are."""
    alarm = driver.alarm()
    try:
        assert not alarm.noticed()
        leases = _folder(driver) / "leases"
        leases.write_text(leases.read_text())
        assert not alarm.noticed()
        (_folder(driver) / "hosts").write_text("")
        assert alarm.noticed()
        assert not alarm.noticed()
        pid = driver.pid(served)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not alarm.noticed():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not alarm.noticed()
    finally:
        alarm.close()
        alarm.close()


def test_an_alarm_can_be_extended_to_what_was_started_since(
    driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    alarm = driver.alarm()
    try:
        for _ in range(2):
            pid = driver.pid(served)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + 5
            while not alarm.noticed():  # its own files wake the alarm, too
                assert select.select(alarm.descriptors(), [], [], end - time.monotonic())[0]
            do(driver, Change(served, dataclasses.replace(served, running=False)))
            assert driver.pid(served) is not None
            assert alarm.extend()
            alarm.noticed()
            assert not alarm.noticed()
        # What ends between the question and the extension is told afterwards.
        last = driver.pid(served)
        assert last is not None
        os.kill(last, signal.SIGKILL)
        do(driver, Remove(served))
        assert alarm.extend()
        assert alarm.noticed()
        assert list(alarm.descriptors()) == []
        do(driver, Add(served))
    finally:
        alarm.close()


def test_nothing_is_left_after_remove(driver: Dnsmasq, served: DhcpScope, do: Do) -> None:
    pid = driver.pid(served)
    do(driver, Remove(served))
    assert not Path(f"/proc/{pid}").exists() or _is_zombie(pid)
    assert list(driver.host.runtime.iterdir()) == []
    assert driver.snapshot() == {}
    do(driver, Add(served))


@pytest.fixture
def three(lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do) -> Iterator[list[DhcpScope]]:
    """Three scopes that are served, on bridges of their own."""
    scopes = [served]
    for number in (2, 3):
        subnet = f"10.{number}.0.0/24"
        lan.bridge(f"br{number}", subnet)
        scopes.append(DhcpScope(link=f"br{number}", subnets=(IPv4Network(subnet),), mtu=1400))
        do(driver, Add(scopes[-1]))
    yield scopes
    driver.apply([Remove(scope) for scope in scopes[1:]], keep_going=True)


def test_servers_that_go_together_are_all_signalled_before_one_is_waited_for(
    driver: Dnsmasq, three: list[DhcpScope], do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = [driver.pid(scope) for scope in three]
    steps: list[str] = []
    send, has_ended, look = server._send, server._has_ended, server._processes

    def sent(pidfd: int, number: signal.Signals) -> bool:
        steps.append(number.name)
        return send(pidfd, number)

    def ended(pidfd: int, seconds: float) -> bool:
        if seconds:
            steps.append("wait")
        return has_ended(pidfd, seconds)

    def looked(servers: Any) -> Iterator[tuple[Server, int]]:
        steps.append("look")
        return look(servers)

    monkeypatch.setattr(server, "_send", sent)
    monkeypatch.setattr(server, "_has_ended", ended)
    monkeypatch.setattr(server, "_processes", looked)
    outcome = driver.apply([Remove(scope) for scope in three])
    assert outcome.done == {0, 1, 2}, outcome.errors
    assert steps == [*["SIGTERM"] * 3, *["wait"] * 3, "look"]
    assert not any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid or 0) for pid in pids)
    assert list(driver.host.runtime.iterdir()) == []
    do(driver, Add(three[0]))


def test_one_of_several_that_does_not_answer_holds_up_none_of_the_others(
    driver: Dnsmasq, three: list[DhcpScope], do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_GRACE", 0.1)
    pid = driver.pid(three[0])
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    outcome = driver.apply([Remove(scope) for scope in three])
    assert outcome.done == {0, 1, 2}, outcome.errors
    assert driver.snapshot() == {}
    do(driver, Add(three[0]))


@pytest.mark.parametrize("keep_going", [False, True])
def test_where_one_of_several_cannot_go_the_others_are_served_or_gone(
    driver: Dnsmasq, three: list[DhcpScope], monkeypatch: pytest.MonkeyPatch, keep_going: bool
) -> None:
    delete = Service.delete

    def refused(service: Service) -> None:
        if service.link == "br2":
            raise PermissionError(EPERM, "refused")
        delete(service)

    with monkeypatch.context() as patch:
        patch.setattr(Service, "delete", refused)
        outcome = driver.apply([Remove(scope) for scope in three], keep_going=keep_going)
        assert {number: type(error) for number, error in outcome.errors.items()} == {1: Denied}
        gone = [0, 2] if keep_going else [0]
        assert outcome.done == set(gone)
        left = [scope for number, scope in enumerate(three) if number not in gone]
        assert driver.snapshot() == {scope.key: scope for scope in left}, "one is not served"
    outcome = driver.apply([Remove(scope) for scope in three], keep_going=True)
    assert {type(error) for error in outcome.errors.values()} == {Missing}
    assert driver.snapshot() == {}
    assert not driver.apply([Add(three[0])]).errors


def test_the_next_driver_takes_it_on_as_it_is(
    lan: Any, servers: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    pid = driver.pid(served)
    following = servers.open(lan.netns)
    assert following.snapshot() == {served.key: served}
    assert following.pid(served) == pid
    more = dataclasses.replace(served, entries=(WEB,))
    do(following, Change(more, served))
    assert (following.pid(more), driver.find(served)) == (pid, more)


def test_outlives_the_process_that_started_it(
    lan: Any, servers: Any, driver: Dnsmasq, scope: DhcpScope
) -> None:
    program = f"""
from ipaddress import IPv4Network
from pathlib import Path
from snnet.contract import Add, DhcpScope
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.dhcp.server import Server
from snnet.system.host import RealHost
driver = Dnsmasq(RealHost({lan.netns!r}, owner="cnci:c1", runtime=Path({str(servers.runtime)!r})))
scope = DhcpScope(link="br0", subnets=(IPv4Network("10.1.0.0/24"),), mtu=1400)
outcome = driver.apply([Add(scope)])
assert outcome.done == {{0}}, outcome.error
print(driver.pid(scope), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert driver.pid(scope) == int(done.stdout)
    assert driver.snapshot() == {scope.key: scope}
    assert lan.guest("br0", MAC).lease() is not None


def test_after_kill_9_it_is_gone_and_can_be_added_again(
    lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Do
) -> None:
    scope = dataclasses.replace(scope, entries=(WEB,))
    do(driver, Add(scope))
    guest = lan.guest("br0", MAC)
    assert guest.lease() is not None
    leases = (_folder(driver) / "leases").read_text()
    _kill(driver, scope)
    stopped = dataclasses.replace(scope, running=False)
    assert driver.snapshot() == {scope.key: stopped}, "what it served is still known"
    assert driver.find(scope) == stopped
    do(driver, Change(scope, stopped))
    assert driver.find(scope) == scope
    assert (_folder(driver) / "leases").read_text() == leases
    assert guest.lease() is not None


def test_leases_that_no_longer_fit_are_dropped(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    assert lan.guest("br0", MAC).lease() is not None
    _kill(driver, served)
    taken = DhcpEntry(mac=WEB.mac, address=IPv4Address("10.1.0.9"))
    wanted = dataclasses.replace(served, entries=(taken,))
    do(driver, Change(wanted, _stopped(driver, served)))
    lease = lan.guest("br0", WEB.mac).lease()
    assert lease is not None
    assert lease["ip"] == "10.1.0.9"


def test_what_a_dead_one_left_can_be_removed(driver: Dnsmasq, served: DhcpScope, do: Do) -> None:
    _kill(driver, served)
    do(driver, Remove(served))
    assert list(driver.host.runtime.iterdir()) == []


def test_children_of_a_dead_one_do_not_keep_its_ports(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    with _tcp_query_under_way(driver, served):
        _kill(driver, served)
        do(driver, Change(served, _stopped(driver, served)))
    assert lan.guest("br0", MAC).lease() is not None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("dns", [True, False])
def test_one_whose_folder_is_lost_gives_way(
    lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Do, dns: bool, version: int
) -> None:
    """Whatever ports it has."""
    if version == 6:
        lan.ip("link", "add", "br6", "up", "type", "bridge")
        lan.ip("address", "add", "fd01::1/64", "dev", "br6", "nodad")
        scope = dataclasses.replace(scope, link="br6", subnets=(IPv6Network("fd01::/64"),))
    scope = dataclasses.replace(scope, dns=dns)
    do(driver, Add(scope))
    pid = driver.pid(scope)
    shutil.rmtree(_folder(driver, scope.link))
    do(driver, Add(scope))
    assert not Path(f"/proc/{pid}").exists() or _is_zombie(pid)
    assert driver.find(scope) == scope


def test_children_of_one_whose_folder_is_lost_give_way(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    with _tcp_query_under_way(driver, served):
        _kill(driver, served)
        shutil.rmtree(_folder(driver))
        do(driver, Add(served))
    assert lan.guest("br0", MAC).lease() is not None


def test_a_new_scope_looks_at_no_other_process(
    driver: Dnsmasq, scope: DhcpScope, do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are many on some hosts, and nobody serves a new bridge."""
    looks: list[object] = []

    def nobody(servers: object) -> Iterator[tuple[Server, int]]:
        looks.append(servers)
        return iter(())

    monkeypatch.setattr(server, "_processes", nobody)
    do(driver, Add(scope))
    assert looks == []
    do(driver, Remove(scope))
    assert len(looks) == 1


def test_restarts_with_a_tcp_query_under_way(driver: Dnsmasq, served: DhcpScope) -> None:
    for _ in range(5):
        with _tcp_query_under_way(driver, served):
            restart(driver, served)


def _stopped(driver: Dnsmasq, scope: DhcpScope) -> DhcpScope:
    """The scope as it is found once nobody serves it."""
    stopped = dataclasses.replace(scope, running=False)
    assert driver.find(scope) == stopped
    assert driver.snapshot() == {scope.key: stopped}
    return stopped


def test_a_lost_pid_file_does_not_lose_the_process(
    driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    pid = driver.pid(served)
    (_folder(driver) / "pid").unlink()
    do(driver, Change(served, _stopped(driver, served)))
    assert not Path(f"/proc/{pid}").exists() or _is_zombie(pid)


def test_a_recycled_pid_is_left_alone(driver: Dnsmasq, served: DhcpScope, do: Do) -> None:
    _kill(driver, served)
    with _running(["sleep", "60"]) as foreign:
        (_folder(driver) / "pid").write_text(f"{foreign.pid}\n")
        assert driver.pid(served) is None
        do(driver, Change(served, _stopped(driver, served)))
        do(driver, Remove(served))
        assert foreign.poll() is None


def test_our_command_line_in_another_namespace_is_foreign(
    driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    _kill(driver, served)
    argument = f"--pid-file={_folder(driver) / 'pid'}"
    argv = ["dnsmasq", "-c", "import time; time.sleep(60)", argument]
    with _running(argv, sys.executable) as decoy:
        (_folder(driver) / "pid").write_text(f"{decoy.pid}\n")
        assert driver.pid(served) is None
        do(driver, Change(served, _stopped(driver, served)))
        do(driver, Remove(served))
        assert decoy.poll() is None


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "99999999"])
def test_a_pid_file_with_anything_in_it(driver: Dnsmasq, served: DhcpScope, text: str) -> None:
    path = _folder(driver) / "pid"
    right = path.read_text()
    path.write_text(text)
    assert driver.pid(served) is None
    path.write_text(right)
    assert driver.pid(served) is not None


def test_a_deaf_process_is_killed(driver: Dnsmasq, served: DhcpScope, do: Do) -> None:
    pid = driver.pid(served)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    do(driver, Remove(served))
    assert not Path(f"/proc/{pid}").exists() or _is_zombie(pid)


def test_a_recreated_bridge_needs_a_new_dnsmasq(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    pid = driver.pid(served)
    lan.ip("link", "del", "br0")
    _stopped(driver, served)
    lan.bridge("br0", "10.1.0.0/24")
    do(driver, Change(served, _stopped(driver, served)))
    assert driver.pid(served) != pid
    assert lan.guest("br0", MAC).lease() is not None


def test_a_broken_record_stops_nothing(
    lan: Any, driver: Dnsmasq, served: DhcpScope, do: Do
) -> None:
    lan.bridge("br1", "10.2.0.0/24")
    second = DhcpScope(link="br1", subnets=(IPv4Network("10.2.0.0/24"),), mtu=1400)
    do(driver, Add(second))
    (_folder(driver, "br0") / "scope.json").write_text('{"version": 9}')
    assert driver.snapshot() == {second.key: second}
    do(driver, Add(served))
    assert driver.snapshot() == {served.key: served, second.key: second}


def test_links_in_our_folder_are_not_followed(
    driver: Dnsmasq, served: DhcpScope, do: Do, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (_folder(driver) / "hosts.new").symlink_to(victim)
    driver.reload(served)
    assert victim.read_text() == "precious"
    (_folder(driver) / "scope.json").unlink()
    (_folder(driver) / "scope.json").symlink_to(victim)
    assert driver.snapshot() == {}
    do(driver, Remove(served))
    assert victim.read_text() == "precious"


def test_a_link_in_place_of_our_folder_is_not_followed(
    driver: Dnsmasq, scope: DhcpScope, tmp_path: Path
) -> None:
    inode = os.fstat(driver.host.netns.fd)
    name = f"dhcp@{inode.st_dev}.{inode.st_ino}@cnci:c1@br0"
    (driver.host.runtime / name).symlink_to(tmp_path)
    assert driver.snapshot() == {}
    for operation in (Add(scope), Remove(scope)):
        assert "was not created by snnet" in str(driver.apply([operation]).error)
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_directory_dnsmasq_cannot_enter_is_reported(
    lan: Any, servers: Any, scope: DhcpScope, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    error = servers.open(lan.netns, runtime=tmp_path).apply([Add(scope)]).error
    assert isinstance(error, Denied)
    assert "cannot pass through" in str(error)


def test_many_scopes_at_once(lan: Any, driver: Dnsmasq, do: Do) -> None:
    from concurrent.futures import ThreadPoolExecutor

    scopes = []
    for number in range(8):
        lan.bridge(f"br{100 + number}", f"10.{100 + number}.0.0/24")
        subnet = IPv4Network(f"10.{100 + number}.0.0/24")
        scopes.append(DhcpScope(link=f"br{100 + number}", subnets=(subnet,), mtu=1400))
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda scope: driver.apply([Add(scope)]), scopes))
        assert [outcome.error for outcome in outcomes] == [None] * 8
        assert driver.snapshot() == {scope.key: scope for scope in scopes}
        outcomes = list(pool.map(lambda scope: driver.apply([Remove(scope)]), scopes))
    assert [outcome.error for outcome in outcomes] == [None] * 8
    assert list(driver.host.runtime.iterdir()) == []


def test_a_look_whether_another_link_is_served_stops_no_start(
    lan: Any, driver: Dnsmasq, scope: DhcpScope, do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes the port of its link for a moment; a start binds that of all links first."""
    lan.bridge("br9", "10.9.0.0/24")
    look = in_netns(driver.host.netns.fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with look:
        look.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"br9")
        look.bind(("", 67))
        monkeypatch.setattr(time, "sleep", lambda _: look.close())
        do(driver, Add(scope))
    assert driver.find(scope) == scope


def test_identical_adds_end_as_one(driver: Dnsmasq, scope: DhcpScope) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: driver.apply([Add(scope)]), range(4)))
    assert sum(outcome.error is None for outcome in outcomes) == 1


def test_works_in_a_user_namespace(tmp_path: Path) -> None:
    program = """
import dataclasses, subprocess, sys
from ipaddress import IPv4Network
from pathlib import Path
from snnet.contract import Add, Change, DhcpScope, Remove
from snnet.dhcp.dnsmasq import Dnsmasq
from snnet.dhcp.server import Server
from snnet.system.host import RealHost
for words in ("link add br0 type bridge", "address add 10.1.0.1/24 dev br0", "link set br0 up"):
    subprocess.run(["ip", *words.split()], check=True)
driver = Dnsmasq(RealHost(owner="cnci:c1", runtime=Path(sys.argv[1])))
scope = DhcpScope(link="br0", subnets=(IPv4Network("10.1.0.0/24"),), mtu=1400)
try:
    outcome = driver.apply([Add(scope)])
    assert outcome.done == {0}, outcome.error
    assert driver.snapshot() == {scope.key: scope}
    driver.reload(scope)
    stopped = dataclasses.replace(scope, running=False)
    assert not driver.apply([Change(stopped, scope), Change(scope, stopped)]).errors
finally:
    driver.apply([Remove(scope)])
assert driver.snapshot() == {}
"""
    runtime = tmp_path / "runtime"
    argv = ["unshare", "-Urn", sys.executable, "-c", program, str(runtime)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert list(runtime.iterdir()) == []


@contextlib.contextmanager
def _running(argv: list[str], program: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, executable=program) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _tcp_query_under_way(driver: Dnsmasq, scope: DhcpScope) -> Iterator[None]:
    """A connection that dnsmasq has handed to a child of its own."""

    def connect() -> socket.socket:
        return socket.create_connection((str(scope.gateways[0]), 53), timeout=30)

    pid = driver.pid(scope)
    with in_netns(driver.host.netns.fd, connect):
        children = Path(f"/proc/{pid}/task/{pid}/children")
        deadline = time.monotonic() + 30
        while not children.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield


def _folder(driver: Dnsmasq, link: str = "br0") -> Path:
    return next(driver.host.runtime.glob(f"dhcp@*@{link}"))


def _kill(driver: Dnsmasq, scope: DhcpScope) -> None:
    pid = driver.pid(scope)
    assert pid is not None
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while driver.pid(scope) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.close(pidfd)


def _is_zombie(pid: int | None) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
