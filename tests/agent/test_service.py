"""The agent as a service: the service manager, metrics and health, logs."""

from __future__ import annotations

import io
import json
import logging
import resource
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from snnet import DriverNotFound, InvalidRequest
from snnet.agent.compute import PATIENCE
from snnet.agent.logs import set_up_logs
from snnet.agent.metrics import CONNECTIONS_MAX, MetricsServer
from snnet.agent.service import serve
from snnet.agent.settings import AgentSettings
from snnet.agent.systemd import notify
from snnet.system.process import find_program

CONTRIB = Path(__file__).parents[2] / "contrib"


@pytest.fixture
def status() -> dict[str, Any]:
    return {
        "state": "ready", "problem": None, "revision": 7, "concentrators": ["acme"],
        "objects": {"ready": 3, "pending": 1, "failed": 0},
        "repaired": 2, "rounds": 9, "failures": 1, "busy_seconds": 0.5,
    }  # fmt: skip


@pytest.fixture
def url(status: dict[str, Any]) -> Iterator[str]:
    server = MetricsServer("127.0.0.1", 0, lambda: status)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_metrics(url: str, status: dict[str, Any]) -> None:
    """Each scrape shows the agent as it is then."""
    lines = get(f"{url}/metrics").splitlines()
    assert 'snnet_objects{state="ready"} 3.0' in lines
    assert "snnet_agent_repaired_total 2.0" in lines
    assert "snnet_agent_healthy 1.0" in lines
    status["state"] = "failing"
    assert "snnet_agent_healthy 0.0" in get(f"{url}/metrics").splitlines()


def test_health(url: str, status: dict[str, Any]) -> None:
    assert json.loads(get(f"{url}/health")) == status
    status |= {"state": "failing", "problem": "registry: no quorum"}
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{url}/health")
    with caught.value as answer:
        assert answer.code == 503
        assert json.loads(answer.read())["problem"] == "registry: no quorum"


def test_an_address_of_ipv6() -> None:
    server = MetricsServer("::1", 0, lambda: {"state": "ready"})
    try:
        assert json.loads(get(f"http://[::1]:{server.port}/health")) == {"state": "ready"}
    finally:
        server.close()


def test_no_name_server_is_asked(monkeypatch: pytest.MonkeyPatch, status: dict[str, Any]) -> None:
    """The agent starts before there may be one, and guests wait for it."""

    def ask(*_: object) -> str:
        raise AssertionError("a name server was asked")

    monkeypatch.setattr(socket, "getfqdn", ask)
    monkeypatch.setattr(socket, "gethostbyaddr", ask)
    server = MetricsServer("127.0.0.1", 0, lambda: status)
    assert json.loads(get(f"http://127.0.0.1:{server.port}/health")) == status
    server.close()


def test_silent_clients_keep_nobody_out(url: str) -> None:
    """And take few threads and descriptors of the agent, which needs them for the host."""
    port = int(url.rpartition(":")[2])
    before = threading.active_count()
    with ExitStack() as clients:
        for number in range(3 * CONNECTIONS_MAX):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            with suppress(ConnectionError):  # the server was faster
                client.sendall(b"GET /health HTTP/1.1\r\n" if number % 2 else b"")
        assert "ready" in get(f"{url}/health")
        assert threading.active_count() <= before + CONNECTIONS_MAX + 1


def test_other_paths(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{url}/secret")
    with caught.value as answer:
        assert answer.code == 404


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@snnet-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1", "STATUS=3 objects")
        assert manager.recv(100) == b"READY=1\nSTATUS=3 objects"


def test_a_service_manager_that_is_gone_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


def test_without_a_service_manager_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


def test_the_unit_keeps_servers_running_and_makes_no_mount_namespace() -> None:
    """Namespaces that the agent makes have to be seen by everybody (systemd.exec(5))."""
    unit = CONTRIB / "snnet-agent.service"
    lines = [line for line in unit.read_text().splitlines() if line and line[0] not in "#["]
    options = dict(line.split("=", 1) for line in lines)
    assert options["KillMode"] == "process"
    assert options["RuntimeDirectoryPreserve"] == "yes"
    assert options["Type"] == "notify"
    assert int(options["WatchdogSec"]) > PATIENCE
    words = ("Private", "Protect", "Path", "Mount", "RootDirectory", "RootImage", "DynamicUser")
    assert [name for name in options if any(word in name for word in words)] == []


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["snnet-agent", "snnet-docker-plugin"])
def test_systemd_understands_the_unit(name: str, tmp_path: Path) -> None:
    """Some mistakes do not change the exit code of ``systemd-analyze``: it names them only."""
    analyze = find_program("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / f"{name}.service"
    program = "/opt/snnet/bin/snnet"

    def verify(text: str) -> list[str]:
        unit.write_text(text)
        done = subprocess.run(
            [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
        )
        said = done.stderr.splitlines()
        return [line for line in said if unit.name in line] or said[: done.returncode]

    text = (CONTRIB / unit.name).read_text()
    assert f"ExecStart={program} " in text
    # It also looks for the program, which is somewhere else here.
    text = text.replace(program, sys.executable)
    assert verify(text) == []
    assert verify(text.replace("Type=notify", "Type=notified")) != []
    assert verify(text.replace("KillMode", "KilMode").replace("Restart=", "Restarts=")) != []


@pytest.fixture
def snnet_log() -> Iterator[logging.Logger]:
    """The logger of snnet, put back as it was."""
    log = logging.getLogger("snnet")
    before = log.handlers[:], log.level, log.propagate
    yield log
    log.handlers[:], log.level, log.propagate = before


def test_the_service_may_have_as_many_descriptors_as_the_system_allows() -> None:
    """With the 1024 of a service manager, about 65 concentrators would be all of a host."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    stop = threading.Event()
    stop.set()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    try:
        serve(AgentSettings(registry="memory:", backend="fake", firewall="fake", dhcp="fake"), stop)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(65536, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_registry_that_does_not_answer_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the reason in /health; and a service that waits for it ends at once."""
    monkeypatch.setattr("snnet.registries.gateway.PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = f"127.0.0.1:{free.getsockname()[1]}"
    settings = AgentSettings(
        registry="etcd://127.0.0.1:1", backend="fake", firewall="fake", dhcp="fake", metrics=metrics
    )
    stop = threading.Event()
    service = threading.Thread(target=serve, args=(settings, stop))
    service.start()
    try:
        problem = None
        while problem is None:
            assert service.is_alive()
            try:
                get(f"http://{metrics}/health")
            except urllib.error.HTTPError as answer:
                with answer:
                    problem = json.loads(answer.read())["problem"]
            except urllib.error.URLError:
                pass
        assert problem.startswith("registry: no etcd member answers: 127.0.0.1:1")
        monkeypatch.setattr("snnet.registries.gateway.PATIENCE", 3600.0)
    finally:
        stop.set()
        service.join(60)
    assert not service.is_alive()


@pytest.mark.parametrize("url", ["none:x", "etcd://me:secret@h", "etcd://h?ca=/nowhere", "sqlite:"])
def test_a_registry_that_cannot_be_is_an_error_at_once(url: str) -> None:
    settings = AgentSettings(registry=url, backend="fake", firewall="fake", dhcp="fake")
    with pytest.raises((InvalidRequest, DriverNotFound)):
        serve(settings, threading.Event())


def test_structured_logs(snnet_log: logging.Logger) -> None:
    stream = io.StringIO()
    set_up_logs("json", stream)
    logging.getLogger("snnet.agent").warning("cannot %s", "do it")
    line = json.loads(stream.getvalue())
    assert line.pop("time") > 0
    assert line == {"level": "warning", "logger": "snnet.agent", "message": "cannot do it"}


def test_logs_for_people(snnet_log: logging.Logger) -> None:
    stream = io.StringIO()
    set_up_logs("text", stream)
    logging.getLogger("snnet.agent").warning("cannot do it")
    assert stream.getvalue().endswith("WARNING snnet.agent: cannot do it\n")


_SERVE = """
import os, threading
from snnet.agent.service import serve
from snnet.agent.settings import AgentSettings
class Stop(threading.Event):
    def is_set(self):
        return os.path.exists("/var/lib/snnet/registry.db")
serve(AgentSettings(backend="fake", firewall="fake", dhcp="fake"), Stop())
print(oct(os.stat("/var/lib/snnet").st_mode & 0o7777))
"""


@pytest.mark.kernel
def test_the_registry_makes_its_folder_for_its_group() -> None:
    """Members of the group make files beside the registry: SQLite's companions."""
    script = 'for place in /var/lib /run; do mount -t tmpfs none $place; done; exec "$@"'
    argv = ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"]
    done = subprocess.run(
        [*argv, sys.executable, "-c", _SERVE], check=True, capture_output=True, text=True
    )
    assert done.stdout == "0o2770\n"
