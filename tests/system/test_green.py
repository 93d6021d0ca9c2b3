"""Under the patches of gevent and eventlet no code of the caller ever runs in another namespace."""

from __future__ import annotations

import importlib.util
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from snnet.system import green
from snnet.system.netns import in_netns, is_current, netns_id, new_netns, open_netns
from snnet.system.process import run
from tests.conftest import ip

_PATCHES = {
    "gevent": "from gevent import monkey, spawn, sleep; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch(); from eventlet import spawn, sleep",
}
_PROGRAM = """
import os, sys, warnings
warnings.simplefilter("ignore")
{patch}
import snnet
from tests.node.world import vm

def here():
    return os.stat("/proc/thread-self/ns/net").st_ino

home, away, ticks = here(), 0, 0

def watch():
    global away, ticks
    while True:
        ticks, away = ticks + 1, away + (here() != home)
        sleep(0)

def call(what, *arguments):
    global away
    result = what(*arguments)
    away += here() != home
    sleep(0)
    return result

spawn(watch)
sleep(0)
more = {{"netns": {netns!r}, "firewall": {wall!r}, "api_timeout": 60}}
config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"], tunnel="vxlan")
node = call(lambda: snnet.ComputeNode("cn-1", config, **more))
cnci = call(lambda: snnet.Cnci("c1", config, tenant_id="t1", **more))
for made in (node, cnci):
    call(made.init)
call(node.create_vnic, vm(9))
assert call(node.verify) == []
call(cnci.add_remote_subnet, "10.9.0.0/24", 77, "192.0.2.12")
call(cnci.enable_nat, ["eth0"])
assert call(cnci.verify) == []
call(cnci.shutdown)
call(node.reset_network)
print(ticks > 10, away)
"""


def program(text: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program; one that waits for ever is ended."""
    return subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture
def uplinked(netns: str) -> str:
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "far", netns=netns)
    ip("address", "add", "192.0.2.11/24", "dev", "eth0", netns=netns)
    for link in ("eth0", "far"):
        ip("link", "set", link, "up", netns=netns)
    return netns


@pytest.mark.kernel
@pytest.mark.parametrize("wall", ["nftables", "iptables"])
@pytest.mark.parametrize("library", _PATCHES)
def test_calls_of_nodes(uplinked: str, library: str, wall: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = program(_PROGRAM.format(patch=_PATCHES[library], netns=uplinked, wall=wall))
    assert done.stdout == "True 0\n", done.stderr[-2000:]


_LISTENERS = """
import os, warnings
warnings.simplefilter("ignore")
{patch}
from ipaddress import ip_address
from snnet.backends.netlink.watch import LinkWatch
from snnet.system.changes import KernelChanges
from snnet.system.hearing import LinkHearing
from snnet.system.netns import open_netns
netns = open_netns({netns!r})
for read in (
    KernelChanges(netns).noticed,
    LinkHearing(netns, "eth0", [ip_address("192.0.2.200")]).heard,
    LinkWatch(netns)._receive,
):
    print(read())
"""


@pytest.mark.kernel
@pytest.mark.parametrize("library", _PATCHES)
def test_who_listens_never_waits(uplinked: str, library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = program(_LISTENERS.format(patch=_PATCHES[library], netns=uplinked))
    assert done.stdout == "False\nset()\n[]\n", done.stderr[-2000:]


# -- the parts, with patches like theirs ------------------------------------------------


class GreenThread:
    """Stands for a patched thread: it runs in the caller's own."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        self.start = target

    def join(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Popen:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise AssertionError("a patched program lets other code run")

    def wait(*_: Any) -> Any:
        return [[1], [], []]

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", GreenThread)
        patch.setattr(subprocess, "Popen", Popen)
        patch.setattr(select, "select", wait)
        patch.delattr(select, "poll")
        green._copy_of_subprocess.cache_clear()
        yield


@pytest.mark.kernel
def test_a_namespace_is_left_again(netns: str, patched: None) -> None:
    fd, home = open_netns(netns), os.stat("/proc/thread-self/ns/net").st_ino

    def fail() -> None:
        raise KeyError("inside")

    assert in_netns(fd, lambda: is_current(fd))
    with pytest.raises(KeyError, match="inside"):
        in_netns(fd, fail)
    assert os.stat("/proc/thread-self/ns/net").st_ino == home
    said = run(["readlink", "/proc/self/ns/net"], netns=fd).stdout
    assert netns_id(fd).split(":")[1] in said
    other = new_netns()
    assert not is_current(other)
    assert os.stat("/proc/thread-self/ns/net").st_ino == home
    for one in (fd, other):
        os.close(one)


_PARTS = {
    "gevent": """
from gevent import monkey
parts = {name: getattr(monkey, f"patch_{name}")
         for name in ("thread", "time", "select", "os", "subprocess")}
""",
    "eventlet": """
import functools, eventlet
parts = {name: functools.partial(eventlet.monkey_patch, **{name: True})
         for name in ("thread", "time", "select", "os")}
""",
}
_PART = """
import os, subprocess, warnings
warnings.simplefilter("ignore")
from snnet.system import green
from snnet.system.process import run
{parts}
for name, patch in parts.items():
    if not (pid := os.fork()):
        patch()
        if green.unpatched(subprocess) is subprocess:
            print(name, "is missed", flush=True)
        print(run(["cat"], input=name).stdout, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("library", _PARTS)
def test_each_part_of_the_patches_is_seen(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = program(_PART.format(parts=_PARTS[library]))
    parts = ["thread", "time", "select", "os", "subprocess"][: 5 if library == "gevent" else 4]
    assert done.stdout.split("\n")[:-1] == parts, done.stderr[-2000:]


def test_programs_are_not_run_by_patches(patched: None) -> None:
    modules = dict(sys.modules)
    assert run(["cat"], input="hello").stdout == "hello"
    assert {name for name in modules if sys.modules[name] is not modules[name]} == set()


def test_waiting_without_poll(patched: None) -> None:
    assert green.is_readable(1, 0)


def test_without_patches_nothing_is_copied() -> None:
    assert green.unpatched(subprocess) is subprocess
    reader, writer = os.pipe()
    assert not green.is_readable(reader, 0)
    os.write(writer, b"x")
    assert green.is_readable(reader, 5)
    for fd in (reader, writer):
        os.close(fd)
