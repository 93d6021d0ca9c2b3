"""Real Docker daemons, each on a node of its own in a network namespace.

A daemon has a private mount namespace, in which /run is its own, for Docker's plugin
folder is one for a whole host.  Between it and the plugin stands a :class:`Wire`, which
can record what is said, and do something between two calls.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, TypeVar

from snnet.system.namespaces import Namespace, end_processes
from tests.docker.client import Client, Connection

DOCKER = "/usr/bin/docker"
"""Debian's, as old as its daemon: a newer client may ask for what that cannot do."""

IMAGE = "snnet-test"
_APPLETS = ("sh", "ping", "nslookup", "sleep", "ip", "cat", "kill", "true", "false")

_MOUNTS = """
mount -t tmpfs -o mode=755 run /run && mkdir -p /run/docker/plugins &&
mount --bind "$1/plugins" /run/docker/plugins &&
mount -t tmpfs -o mode=755 docker /etc/docker && mkdir /etc/docker/plugins &&
mount --bind "$1/specs" /etc/docker/plugins && echo ready && exec sleep infinity
"""

Between = Callable[[str], None]

M = TypeVar("M", bound="Machine")


class Wire(ThreadingMixIn, UnixStreamServer):
    """Stands between Docker and the plugin, and lets every request through.

    ``said`` has all requests with their answers, in the order of the answers.
    ``between`` is called with the method before an answer is passed on, ``within`` once the
    request is: whether that has ended the plugin, so that there is no answer.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, path: Path, plugin: Path) -> None:
        self.path = path
        self.plugin = plugin
        self.said: list[dict[str, Any]] = []
        self.between: Between | None = None
        self.within: Callable[[str], bool] | None = None
        self.turn = threading.Lock()
        super().__init__(str(path), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Wire

    def do_POST(self) -> None:
        # One at a time where something is to be done between two.
        with self.server.turn if self.server.between else contextlib.nullcontext():
            self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method = self.path.lstrip("/")
        with contextlib.closing(Connection(self.server.plugin)) as onward:
            onward.request("POST", self.path, body)
            if self.server.within is not None and self.server.within(method):
                self.close_connection = True  # no answer: Docker asks again
                return
            response = onward.getresponse()
            text = response.read()
        self.server.said.append(
            {
                "method": method,
                "request": json.loads(body or b"null"),
                "status": response.status,
                "answer": json.loads(text),
            }
        )
        if self.server.between is not None:
            self.server.between(method)
        self.send_response(response.status)
        self.send_header("Content-Type", response.getheader("Content-Type") or "")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Machine:
    """A compute node with its plugin, as a service, and its Docker daemon."""

    def __init__(self, folder: Path, name: str, uplink: str, config: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.uplink = uplink
        self.space = Namespace(name)
        self._config = config
        self._plugin: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        for place in ("plugins", "specs"):
            (self.folder / place).mkdir(parents=True)
        self._mounts = self._make_mounts()
        self.socket = self.folder / "snnet.sock"
        self.wire = Wire(self.folder / "plugins" / "snnet.sock", self.socket)

    def _make_mounts(self) -> subprocess.Popen[str]:
        """A process that keeps a mount namespace for the daemons that follow each other."""
        argv = ("unshare", "-m", "--propagation", "private", "sh", "-c", _MOUNTS, "sh")
        holder = subprocess.Popen([*argv, str(self.folder)], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        return holder

    # -- the plugin ------------------------------------------------------------------------

    def start_plugin(self, *options: str) -> None:
        """Start the service, and wait until it answers at its socket, if it has one."""
        argv = self.service(*options)
        with open(self.folder / "plugin.log", "ab") as log, open(self.events_path, "ab") as events:
            self._plugin = subprocess.Popen(argv, stdout=events, stderr=log)
        if "--address" in options:
            self._wait("plugin", lambda: next((self.folder / "specs").iterdir()))
        else:
            self._wait("plugin", lambda: Client(self.socket).ask("NetworkDriver.GetCapabilities"))

    def service(self, *options: str) -> list[str]:
        """The command of the service."""
        return [
            sys.executable, "-m", "snnet", "docker-plugin", "serve",
            "--node-id", self.name, "--config", str(self._config),
            "--netns", f"/proc/{os.getpid()}/fd/{self.space.fd}",
            "--plugin-dir", str(self.folder), "--data-dir", str(self.folder / "data"), *options,
        ]  # fmt: skip

    def kill_plugin(self, number: int = signal.SIGKILL) -> None:
        """End the service, by default with no warning."""
        plugin, self._plugin = self._plugin, None
        if plugin is not None:
            plugin.send_signal(number)
            plugin.wait(30)

    def restart_plugin(self, method: str = "") -> None:
        """Kill it and start it again."""
        self.kill_plugin()
        self.start_plugin()

    @property
    def events_path(self) -> Path:
        """Where the service's stdout goes: its tunnel events."""
        return self.folder / "events"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The tunnel events that the service told of."""
        return [json.loads(line) for line in self.events_path.read_text().splitlines()]

    # -- the daemon ------------------------------------------------------------------------

    def start_daemon(self, *options: str) -> None:
        """Start dockerd, and wait until it answers."""
        pid_file = self.folder / "docker.pid"
        # A killed one that nobody has reaped yet would be taken for alive.
        for left in (pid_file, self.folder / "exec" / "containerd" / "containerd.pid"):
            left.unlink(missing_ok=True)
        argv = (
            "nsenter", f"--net={self.space.path}", f"--mount=/proc/{self._mounts.pid}/ns/mnt",
            "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false",
            "--data-root", str(self.folder / "root"), "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(pid_file), "-H", f"unix://{self.folder}/docker.sock", *options,
        )  # fmt: skip
        with open(self.folder / "docker.log", "ab") as log:
            self._daemon = subprocess.Popen(argv, stdout=log, stderr=log)
        self._wait("dockerd", lambda: self.docker("version"))

    def kill_daemon(self, number: int = signal.SIGKILL) -> None:
        """End dockerd, by default with no warning."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.send_signal(number)
            daemon.wait(60)

    def client(self, *words: str) -> list[str]:
        """The command of Docker's client."""
        return [DOCKER, "-H", f"unix://{self.folder}/docker.sock", *words]

    def docker(self, *words: str, timeout: float = 240) -> str:
        """Run the client; its output.  A failure is an AssertionError with what it said."""
        argv = self.client(*words)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr.strip()}"
        return done.stdout.strip()

    def refused(self, *words: str) -> str:
        """What the client says when it fails, which it has to."""
        try:
            self.docker(*words)
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"docker {' '.join(words)} worked")

    def pings(self, container: str, address: str) -> bool:
        """Whether a running container reaches an address."""
        try:
            self.docker("exec", container, "ping", "-c", "1", "-W", "2", address)
        except AssertionError:
            return False
        return True

    def address_of(self, container: str) -> str:
        """The address Docker says that a container has on its only network."""
        words = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.docker("inspect", "-f", words, container)

    def links(self) -> set[str]:
        """The names of all links that are snnet's."""
        text = self.space.call(lambda: Path("/proc/thread-self/net/dev").read_text())
        names = {line.partition(":")[0].strip() for line in text.splitlines()[2:]}
        return {name for name in names if name.startswith("sn")}

    def promises(self) -> dict[str, int]:
        """How many of each the plugin's database has."""
        import sqlite3

        path = self.folder / "data" / "registry.db"
        with contextlib.closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT key FROM documents WHERE document IS NOT NULL")
            keys = [str(key).split("/") for (key,) in rows.fetchall()]
        tables = ("pools", "networks", "addresses", "endpoints")
        return dict(Counter(word for words in keys for word in words if word in tables))

    def import_image(self, folder: Path) -> None:
        """Give the daemon the image of the tests."""
        archive = folder / "image.tar"
        if not archive.exists():
            build_image(archive)
        self.docker("import", str(archive), IMAGE)

    def run(self, name: str, *options: str, network: str = "web") -> str:
        """Start a container that sleeps; its address."""
        self.docker(
            "run",
            "-d",
            "--stop-signal",
            "KILL",
            "--name",
            name,
            "--net",
            network,
            *options,
            IMAGE,
            "sleep",
            "1000",
        )
        return self.address_of(name)

    def _wait(self, what: str, answers: Callable[[], object]) -> None:
        deadline = time.monotonic() + 90
        while True:
            try:
                answers()
                return
            except (AssertionError, OSError, StopIteration):
                process = self._daemon if what == "dockerd" else self._plugin
                log = self.folder / ("docker.log" if what == "dockerd" else "plugin.log")
                if time.monotonic() > deadline or (process and process.poll() is not None):
                    tail = log.read_text()[-2000:]
                    raise AssertionError(f"{what} of {self.name} does not start: {tail}") from None
                time.sleep(0.05)

    def close(self) -> None:
        """End all that was started."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            if self._daemon is not None and (left := self.docker("ps", "-aq")):
                self.docker("rm", "-f", *left.split())
        self.kill_daemon(signal.SIGTERM)
        self.kill_plugin(signal.SIGTERM)
        self._mounts.kill()
        self._mounts.communicate()
        self.wire.shutdown()
        self.wire.server_close()
        end_processes([self.space])
        self.space.close()


class AgentMachine(Machine):
    """One whose service is an agent, with everything on this host."""

    @property
    def registry(self) -> str:
        return f"sqlite://{self.folder}/registry.db"

    def service(self, *options: str) -> list[str]:
        settings = self.folder / "agent.yaml"
        settings.write_text(
            f"node: {self.name}\nregistry: {self.registry}\ndocker: true\nlisten: {self.socket}\n"
        )
        # Not by ``ip netns exec``, which would hide namespaces made later.
        enter = ["nsenter", f"--net={self.space.path}"]
        return [*enter, sys.executable, "-m", "snnet", "agent", "--config", str(settings)]


class DataCentre:
    """Machines on one wire with a hub, where the concentrators are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = Namespace("hub")
        self.hub.ip(["link set lo up", "link add br0 type bridge", "link set br0 up"])
        # Its own address is on a veth, for a bridge without a physical port is no uplink.
        self.hub.ip(["link add eth0 type veth peer name port", "link set port master br0 up"])
        self.hub.ip(["address add 192.0.2.10/24 dev eth0", "link set eth0 up"])
        self._machines: list[Machine] = []
        self.config = folder / "network.yaml"
        self.config.write_text("compute_nets: [192.0.2.0/24]\ntunnel: vxlan\n")

    def add(self, name: str, config: Path | None = None, *, daemon: bool = True) -> Machine:
        """A machine with its plugin and, as a rule, its daemon and the image."""
        return self._add(Machine, name, config or self.config, daemon=daemon)

    def add_agent(self, name: str) -> AgentMachine:
        """A machine with an agent, its daemon and the image."""
        return self._add(AgentMachine, name, self.config, daemon=True)

    def _add(self, kind: type[M], name: str, config: Path, *, daemon: bool) -> M:
        uplink = f"192.0.2.{11 + len(self._machines)}"
        machine = kind(self.folder, name, uplink, config)
        self._machines.append(machine)
        machine.space.ip(["link set lo up"])
        far = f"peer name eth0 netns {machine.space.path}"
        self.hub.ip([f"link add name {name} type veth {far}", f"link set dev {name} master br0 up"])
        machine.space.ip([f"address add {uplink}/24 dev eth0", "link set eth0 up"])
        if kind is AgentMachine:
            machine.space.ip(["route add default via 192.0.2.10"])
        machine.start_plugin()
        if daemon:
            machine.start_daemon()
            machine.import_image(self.folder)
        return machine

    def close(self) -> None:
        """Remove everything."""
        for machine in self._machines:
            machine.close()
        end_processes([self.hub])
        self.hub.close()


@contextlib.contextmanager
def data_centre(folder: Path) -> Iterator[DataCentre]:
    """A data centre in a folder whose path is short enough for Unix sockets."""
    centre = DataCentre(folder)
    try:
        yield centre
    finally:
        centre.close()
        shutil.rmtree(folder, ignore_errors=True)


def build_image(archive: Path) -> None:
    """A root file system that is a static busybox and a few of its names."""
    with tarfile.open(archive, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in _APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)


def options(tenant: str = "t1", key: int | None = 7) -> list[str]:
    """What ``docker network create`` is given for a tenant's subnet."""
    return [
        "-d", "snnet", "--ipam-driver", "snnet", "--subnet", "10.1.0.0/24",
        "-o", f"snnet.tenant={tenant}", "-o", "snnet.concentrator_ip=192.0.2.10",
        *(["-o", f"snnet.subnet_key={key}"] if key else []),
        "--ipam-opt", f"snnet.tenant={tenant}", "--ipam-opt", "snnet.subnet_id=s1",
    ]  # fmt: skip
