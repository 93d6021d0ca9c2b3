"""One real host with everything: a namespace with an uplink, tenants, guests, the outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import snnet
from snnet import contract
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Link
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace, end_processes
from snnet.system.netns import in_netns
from snnet.system.process import find_program, run
from tests.node.test_local import config, vnic
from tests.pings import pings
from tests.sample import docker_alone

pytestmark = pytest.mark.kernel

HOST, OUTSIDE = "192.0.2.11", "192.0.2.99"
CONFIG = snnet.NetworkConfig(topology="local", compute_nets=["192.0.2.0/24"])
_SERVER = "import socket,sys\ns=socket.create_server(('',int(sys.argv[1])))\n" + (
    "while 1:\n c,a=s.accept();c.sendall(f'{sys.argv[2]} {a[0]}'.encode());c.close()"
)
_CLIENT = "import socket,sys\ns=socket.create_connection((sys.argv[1],int(sys.argv[2])),3)\n" + (
    "print(s.recv(99).decode())"
)
_KILLED = """
import os, signal, sys, snnet
sys.path.insert(0, {root!r})
from tests.node.test_local import config
from tests.node.test_local_kernel import CONFIG
from snnet.contract import applying
done = 0
def carry_out(self, position, real=applying.Applying._carry_out_one):
    global done
    if done == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    return real(self, position)
applying.Applying._carry_out_one = carry_out
with snnet.ComputeNode({netns!r}, CONFIG, netns={netns!r}, firewall={firewall!r}) as cn:
    cn.init()
    cn.set_concentrator(config())
"""


class RealOneHost:
    """A host with ``eth0`` towards the outside; its guests are namespaces behind veths."""

    def __init__(self, netns: str, firewall: str, backend: str = "netlink") -> None:
        self.netns, self.firewall, self.backend = netns, firewall, backend
        self._open = ExitStack()
        self.host = RealHost(netns, owner="cn:tester")
        self._open.callback(self.host.close)
        self.outside = self.space("outside")
        self.ip(
            f"link add eth0 type veth peer name eth0 netns {self.outside.path}",
            "link set lo up", f"address add {HOST}/24 dev eth0", "link set eth0 up",
        )  # fmt: skip
        own = f"address add {OUTSIDE}/24 dev eth0"
        self.outside.ip(["link set lo up", own, "link set eth0 up"])
        self.serve(self.outside, 80, "outside")
        self.kernel = NetlinkBackend(self.host)
        self._open.callback(self.kernel.close)
        self.cn = self.node()
        self.clean = self.text()

    def ip(self, *commands: str) -> None:
        run(["ip", "-batch", "-"], input="\n".join(commands), netns=self.host.netns.fd)

    def space(self, name: str) -> Namespace:
        space = Namespace(name)
        self._open.callback(space.close)
        self._open.callback(end_processes, [space])
        return space

    def text(self) -> str:
        """What there is on the host that could be left behind."""
        fd = self.host.netns.fd
        links = run(["ip", "-br", "link"], netns=fd).stdout
        words = [line.split("@")[0].split()[0] for line in links.splitlines()]
        routes = run(["ip", "route"], netns=fd).stdout
        tables = run(["nft", "list", "tables"], netns=fd).stdout
        mine = map(str, self.kernel.snapshot({contract.Namespace}).values())
        return "\n".join([*words, routes, *(t for t in tables.splitlines() if "snnet" in t), *mine])

    def node(self) -> snnet.ComputeNode:
        # Names of namespaces are those of the whole machine, and come from the node's id.
        cn = snnet.ComputeNode(
            self.netns, CONFIG, netns=self.netns, backend=self.backend, firewall=self.firewall,
            api_timeout=60.0,
        )  # fmt: skip
        self._open.enter_context(cn)
        cn.init()
        return cn

    def serve_subnet(self, cfg: snnet.ConcentratorConfig) -> snnet.Cnci:
        made = self.cn.set_concentrator(cfg)
        cnci = snnet.Cnci(
            made.concentrator_id, CONFIG, tenant_id=made.tenant_id, netns=made.netns,
            backend=self.backend, firewall=self.firewall, api_timeout=60.0,
        )  # fmt: skip
        self._open.enter_context(cnci)
        self._open.callback(self._stop, cnci)
        cnci.init()
        result = cnci.reconcile(
            subnets=[snnet.Subnet("10.1.0.0/24", 7, link=made.links["web"])],
            nat=[made.uplink],
            exits=[(made.uplink, "10.1.0.0/24")],
            forwards=[
                {
                    "protocol": "tcp", "device": made.uplink, "port": rule.target_port,
                    "to": "10.1.0.9", "to_port": 22,
                }
                for rule in made.forwards
            ],
        )  # fmt: skip
        assert not result.failed, result.failed
        return cnci

    @staticmethod
    def _stop(cnci: snnet.Cnci) -> None:
        with suppress(snnet.SnnetError):
            cnci.shutdown()

    def guest(self, number: int, tenant: str = "acme") -> Namespace:
        """A container, which gets its address by DHCP where udhcpc is installed."""
        made = self.cn.create_vnic(
            snnet.VnicConfig(**{**vnic(number, tenant).to_dict(), "role": "tenant-container"})
        ).vnic
        space = self.space(f"{tenant}-{number}")
        self.ip(f"link set {made.peer_name} netns {space.path} name eth0 up")
        space.ip(["link set lo up"])
        if find_program("busybox"):
            script = Path(os.environ.get("TMPDIR", "/tmp"), f"snnet-lease-{os.getpid()}")
            script.write_text(
                '#!/bin/sh\n[ "$1" = bound ] || exit 0\n'
                "ip address add $ip/$mask dev $interface\n"
                "ip link set $interface mtu $mtu\nip route add default via $router\n"
            )
            script.chmod(0o755)
            argv = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1"]
            run([*argv, "-s", str(script)], netns=space.fd, timeout=30)
            script.unlink()
        else:
            space.ip([f"address add 10.1.0.{number}/24 dev eth0", "route add default via 10.1.0.1"])
        self.serve(space, 22, space.name)
        return space

    def serve(self, space: Namespace, port: int, name: str) -> None:
        """Answer connections to a port with a name and the address of who asks."""
        process = space.call(
            lambda: subprocess.Popen([sys.executable, "-c", _SERVER, str(port), name])
        )
        self._open.callback(process.wait)
        self._open.callback(process.kill)
        while not self.ask(space, "127.0.0.1", port):
            assert process.poll() is None

    def ask(self, space: Namespace | None, address: str, port: int) -> str:
        """The answer from a port; empty without one."""
        fd = self.host.netns.fd if space is None else space.fd
        argv = [sys.executable, "-c", _CLIENT, address, str(port)]
        return run(argv, netns=fd, check=False, timeout=20).stdout.strip()

    def close(self) -> None:
        for noun in self.kernel.snapshot({contract.Namespace}).values():
            self.kernel.apply([contract.Remove(noun)])
        self._open.close()


@pytest.fixture(params=["nftables", "iptables"])
def one(request: pytest.FixtureRequest, netns: str) -> Iterator[RealOneHost]:
    host = RealOneHost(netns, request.param)
    try:
        yield host
    finally:
        host.close()


def test_one_host_end_to_end(one: RealOneHost) -> None:
    cnci = one.serve_subnet(config())
    other = one.serve_subnet(config("other", 33023))
    mine, second = one.guest(9), one.guest(10)
    theirs = one.guest(9, "other")
    # In the subnet, out by NAT, with full-size packets.
    assert pings(mine, "10.1.0.10", size=1472)
    assert one.ask(mine, "10.1.0.10", 22) == "acme-10 10.1.0.9"
    assert pings(mine, OUTSIDE, size=1472)
    assert one.ask(mine, OUTSIDE, 80) == f"outside {HOST}"
    # In by the host's port: from outside, from the host, from guests, from the guest itself.
    assert one.ask(one.outside, HOST, 33022) == f"acme-9 {OUTSIDE}"
    assert one.ask(None, HOST, 33022) == f"acme-9 {HOST}"
    assert one.ask(second, HOST, 33022) == "acme-9 169.254.1.1"
    assert one.ask(mine, HOST, 33022) == "acme-9 169.254.1.1"
    # Two tenants with the same addresses.
    assert one.ask(one.outside, HOST, 33023) == f"other-9 {OUTSIDE}"
    assert not pings(theirs, "10.1.0.10", patience=1)
    for made in one.cn.topology().concentrators:
        assert one.ask(one.outside, str(made.ip), made.forwards[0].target_port) == ""
    assert not pings(mine, HOST, patience=1)
    assert one.cn.verify() == []
    assert (cnci.verify(), other.verify()) == ([], [])
    # Everything goes.
    for one_cnci in (cnci, other):
        one_cnci.shutdown()
        one_cnci.close()
    one.cn.reconcile(concentrators=[], vnics=[])
    assert one.cn.topology().subnets == ()
    assert one.text() == one.clean


def test_the_same_by_programs(netns: str) -> None:
    """The backend ``iproute_shell`` does the same, and a dry run is what it runs."""
    one = RealOneHost(netns, "nftables", "iproute_shell")
    try:
        plan = one.cn.plan_set_concentrator(config())
        assert any(line.startswith("ip netns add snn-") for line in plan.to_commands())
        one.serve_subnet(config())
        assert pings(one.guest(9), OUTSIDE)
        assert one.ask(one.outside, HOST, 33022) == f"acme-9 {OUTSIDE}"
        assert one.cn.verify() == []
        one.cn.reset_network()
        assert one.text() == one.clean
    finally:
        one.close()


def test_names_resolve_by_the_concentrator(one: RealOneHost) -> None:
    cnci = one.serve_subnet(config())
    cnci.dhcp("10.1.0.0/24").add_entry("10.1.0.50", hostname="db")
    guest = one.guest(9)
    if not find_program("busybox"):
        pytest.skip("no busybox to ask with")
    found = run(["busybox", "nslookup", "db", "10.1.0.1"], netns=guest.fd, check=False)
    assert "10.1.0.50" in found.stdout
    servers = [path.read_text() for path in one.host.runtime.rglob("servers")]
    assert servers
    assert not any("127." in text for text in servers), "a loopback of another namespace"


def test_a_port_that_a_program_has(one: RealOneHost) -> None:
    server = subprocess.Popen([sys.executable, "-c", _SERVER, "0", "x"])
    server.kill()
    server.wait()
    process = in_netns(
        one.host.netns.fd,
        lambda: subprocess.Popen([sys.executable, "-c", _SERVER, "8080", "host"]),
    )
    try:
        while not one.ask(None, HOST, 8080):
            pass
        words = rf"in use by \S+ \(pid {process.pid}\) on \*:8080"
        with pytest.raises(snnet.Conflict, match=words):
            one.cn.set_concentrator(config(port=8080))
        assert one.text() == one.clean
    finally:
        process.kill()
        process.wait()


def test_drift_is_repaired(one: RealOneHost) -> None:
    made = one.cn.set_concentrator(config())
    for damage in (
        lambda: run(["ip", "netns", "delete", made.netns]),
        lambda: one.ip(f"link delete {made.link_name}"),
        lambda: run(["ip", "-n", made.netns, "address", "flush", "dev", "eth0"]),
        lambda: run(["ip", "-n", made.netns, "link", "set", "eth0", "down"]),
    ):
        damage()
        assert one.cn.verify()
        one.cn.repair()
        assert one.cn.verify() == []
    one.serve_subnet(config())
    assert pings(one.guest(9), OUTSIDE)


def test_ends_that_others_rename_inside_come_back(one: RealOneHost) -> None:
    made = one.cn.set_concentrator(config())
    for name in (made.uplink, made.links["web"]):
        for words in (f"{name} down", f"{name} name other", "other up"):
            run(["ip", "-n", made.netns, "link", "set", *words.split()])
        assert one.cn.verify()
        assert one.cn.repair().orphans == []
        assert one.cn.verify() == []
    one.serve_subnet(config())
    assert pings(one.guest(9), OUTSIDE)


@pytest.mark.parametrize("backend", ["netlink", "iproute_shell"])
@pytest.mark.parametrize("leads", ["to the host", "elsewhere"])
def test_a_name_that_leads_elsewhere(netns: str, backend: str, leads: str) -> None:
    """Nothing changes there, be it the host itself; the concentrator is made under another name."""
    one = RealOneHost(netns, "nftables", backend)
    try:
        one.ip("route add default via 192.0.2.99")
        made = one.cn.set_concentrator(config())
        run(["ip", "netns", "delete", made.netns])
        if leads == "to the host":
            Path("/run/netns", made.netns).touch()
            run(["mount", "--bind", f"/run/netns/{netns}", f"/run/netns/{made.netns}"])
        else:
            run(["ip", "netns", "add", made.netns])
            for words in ("link add eth0 type veth peer name far", "link set far up",
                          "address add 198.51.100.7/24 dev eth0", "link set eth0 up",
                          "route add default via 198.51.100.1"):  # fmt: skip
                run(["ip", "-n", made.netns, *words.split()])

        def there() -> list[str]:
            looks = ("link show up dev eth0", "-4 address show dev eth0", "-4 route show dev eth0")
            return [run(["ip", "-n", made.netns, *look.split()]).stdout for look in looks]

        before = there()
        (line,) = one.cn.repair().orphans
        assert line.startswith(f"namespace {made.netns}: ")
        assert there() == before
        assert line in one.cn.verify()
        assert one.cn.set_concentrator(config()).netns != made.netns
        assert one.cn.verify() == []
        assert there() == before
        one.cn.remove_concentrator("acme", "c-acme")
        one.cn.reset_network()
        assert there() == before
    finally:
        run(["ip", "netns", "delete", made.netns])
        one.close()


@pytest.mark.parametrize("at", range(0, 20, 3))
def test_killed_at_any_operation(netns: str, at: int) -> None:
    one = RealOneHost(netns, "nftables")
    try:
        one.cn.close()
        root = str(Path(__file__).parents[2])
        code = _KILLED.format(root=root, at=at, netns=netns, firewall="nftables")
        done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
        assert done.returncode in (0, -signal.SIGKILL)
        one.cn = one.node()
        assert one.cn.verify() == []
        one.serve_subnet(config())
        assert one.cn.verify() == []
        one.cn.reset_network()
        assert one.text() == one.clean
    finally:
        one.close()


DOCKERS = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -o docker0 -j DOCKER
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-USER -j RETURN
COMMIT
"""
"""What dockerd has in the table, without containers."""


def dockers(one: RealOneHost, variant: str) -> list[str]:
    saved = run([f"iptables-{variant}", "-S", "DOCKER-USER"], netns=one.host.netns.fd, check=False)
    return saved.stdout.splitlines()


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("first", ["Docker", "snnet"])
def test_beside_docker(one: RealOneHost, variant: str, first: str) -> None:
    """Docker drops what it does not know; bridged frames too, where br_netfilter shows them."""
    name = "net.bridge.bridge-nf-call-iptables"
    run(["sysctl", "-e", "-w", f"{name}=1"], netns=one.host.netns.fd, check=False)
    start = [f"iptables-{variant}-restore", "-n"]
    if first == "snnet":
        one.cn.set_concentrator(config())
    run(start, input=DOCKERS, netns=one.host.netns.fd)
    before = dockers(one, variant)
    if first == "snnet":
        time.sleep(0.6)  # the answer that there is no chain is used for half a second
        assert one.cn.verify()
        one.cn.repair()
    one.serve_subnet(config())
    other = one.serve_subnet(config("other", 33023))
    mine, second = one.guest(9), one.guest(10)
    assert pings(mine, "10.1.0.10")
    assert one.ask(mine, OUTSIDE, 80) == f"outside {HOST}"
    assert one.ask(one.outside, HOST, 33022) == f"acme-9 {OUTSIDE}"
    assert one.ask(second, HOST, 33022) == "acme-9 169.254.1.1"
    theirs = other.site.ip
    assert not pings(mine, str(theirs), patience=1), "tenants stay apart"
    assert one.ask(one.outside, str(theirs), 33023) == ""
    assert [line for line in one.cn.verify() if "first again" not in line] == []
    one.cn.reset_network()
    assert dockers(one, variant) == before


def test_others_may_drop_what_is_invalid(one: RealOneHost) -> None:
    """As ufw and kube-proxy do: the host sees whole connections of bridged frames, or none."""
    run(["sysctl", "-e", "-w", "net.bridge.bridge-nf-call-iptables=1"], netns=one.host.netns.fd)
    one.serve_subnet(config())
    guest = one.guest(9)
    drop = ["-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"]
    run(["iptables-nft", "-I", "FORWARD", *drop], netns=one.host.netns.fd)
    assert one.ask(guest, OUTSIDE, 80) == f"outside {HOST}"
    assert one.ask(one.outside, HOST, 33022) == f"acme-9 {OUTSIDE}"
    dropped = run(["iptables-nft", "-vnL", "FORWARD"], netns=one.host.netns.fd).stdout
    assert dropped.splitlines()[2].split()[0] == "0", dropped


@contextlib.contextmanager
def dockerd(one: RealOneHost, folder: Path) -> Iterator[None]:
    """A real daemon with its own /run, which sets up its chains in the host's namespace."""
    command = (
        f"mount -t tmpfs -o mode=755 run /run && exec dockerd --data-root {folder}/root "
        f"--exec-root {folder}/exec --pidfile {folder}/pid -H unix://{folder}/docker.sock"
    )
    argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", command]
    with (folder / "log").open("wb") as log:
        process = in_netns(
            one.host.netns.fd, lambda: subprocess.Popen(argv, stdout=log, stderr=log)
        )
    try:
        end = time.monotonic() + 60
        while not (folder / "docker.sock").exists() or not _has_chains(one):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _has_chains(one: RealOneHost) -> bool:
    return any(len(dockers(one, variant)) > 1 for variant in ("nft", "legacy"))


@pytest.mark.skipif(find_program("dockerd") is None, reason="there is no dockerd")
def test_a_real_docker_runs_first(one: RealOneHost) -> None:
    # Not tmp_path: below it, the paths of containerd's sockets would be too long (unix(7)).
    with (
        tempfile.TemporaryDirectory(prefix="snnet-", ignore_cleanup_errors=True) as folder,
        docker_alone(),
        dockerd(one, Path(folder)),
    ):
        before = [dockers(one, variant) for variant in ("nft", "legacy")]
        one.serve_subnet(config())
        mine = one.guest(9)
        assert one.ask(mine, OUTSIDE, 80) == f"outside {HOST}"
        assert one.ask(one.outside, HOST, 33022) == f"acme-9 {OUTSIDE}"
        assert one.ask(mine, HOST, 33022) == "acme-9 169.254.1.1"
        assert [line for line in one.cn.verify() if "first again" not in line] == []
        one.cn.reset_network()
        assert [dockers(one, variant) for variant in ("nft", "legacy")] == before


def test_a_foreign_drop_is_named(one: RealOneHost) -> None:
    """Without a chain of Docker's for others, only the owner of the rule can help."""
    one.cn.set_concentrator(config())
    run(["nft", "add table ip guard"], netns=one.host.netns.fd)
    chain = "add chain ip guard f { type filter hook forward priority 0; policy drop; }"
    run(["nft", chain], netns=one.host.netns.fd)
    assert any("table ip guard, chain f" in line for line in one.cn.verify())
    run(["nft", "delete table ip guard"], netns=one.host.netns.fd)
    assert one.cn.verify() == []
    rule = ["PREROUTING", "-i", "eth0", "-j", "DROP"]
    for table in ("raw", "mangle"):
        run(["iptables-nft", "-t", table, "-I", *rule], netns=one.host.netns.fd)
        (line,) = one.cn.verify()
        assert f"table ip {table}, chain PREROUTING (hook prerouting) drops" in line
        assert "from outside to snw-" in line
        run(["iptables-nft", "-t", table, "-D", *rule], netns=one.host.netns.fd)


def test_after_a_reboot_all_comes_back(one: RealOneHost) -> None:
    """Links, namespaces, rules and the record of intents are gone, as the kernel's run is."""
    cnci = one.serve_subnet(config())
    one.guest(9)
    cnci.shutdown()
    one.cn.close()
    for noun in one.kernel.snapshot({contract.Namespace}).values():
        one.kernel.apply([contract.Remove(noun)])
    for link in one.kernel.snapshot({Link}).values():
        if isinstance(link, Link) and link.name.startswith("sn"):
            one.kernel.apply([contract.Remove(link)])
    run(["nft", "flush", "ruleset"], netns=one.host.netns.fd)
    one.host.journal(f"intents-cn:{one.netns}").replace([])
    one.cn = one.node()
    assert one.cn.topology().concentrators == ()
    result = one.cn.reconcile(concentrators=[config()], vnics=[])
    assert [item.action for item in result.items] == ["created"]
    one.serve_subnet(config())
    assert pings(one.guest(9), OUTSIDE)
    assert one.ask(one.outside, HOST, 33022) == f"acme-9 {OUTSIDE}"
    assert one.cn.verify() == []


def test_a_restart_changes_nothing(one: RealOneHost) -> None:
    one.serve_subnet(config())
    one.guest(9)
    (made,) = one.cn.topology().concentrators
    index = {noun.name: noun.index for noun in links(one)}
    one.cn.close()
    one.cn = one.node()
    assert one.cn.topology().concentrators == (made,)
    assert {noun.name: noun.index for noun in links(one)} == index
    assert one.cn.verify() == []


def links(one: RealOneHost) -> list[Link]:
    found = one.cn.backend.snapshot({Link}).values()
    return [noun for noun in found if isinstance(noun, Link)]
