"""What breaks tenants' networks on real hosts, each with the command that puts it right."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from snnet import plugins
from snnet.contract import Link, SnnetError
from snnet.contract.addresses import IPV6_MTU_MIN
from snnet.core.tunnels import tunnel_link
from snnet.system.host import RealHost
from snnet.system.netns import CURRENT
from snnet.system.process import PACKAGES, find_program, run
from snnet.system.users import CAP_NET_ADMIN, has_capability

from .beside import losses
from .fixes import ADVICE, fix_of
from .survey import NOTE_AGAIN, FoundNode, opened

_NEEDED = {"CAP_NET_ADMIN": CAP_NET_ADMIN, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}
"""linux/capability.h"""

_LEFT_MIN = 1 << 20
"""Bytes: a record is written beside the old one, and a node with 1,000 VNICs has some 500 KB."""

_SYS = Path("/proc/sys")
_NETWORKD_CONF = (Path("/etc/systemd/networkd.conf"), Path("/etc/systemd/networkd.conf.d"))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that breaks tenants' networks, or soon will; ``fix`` is a command, or advice."""

    what: str
    fix: str

    def to_dict(self) -> dict[str, str]:
        """Plain data for JSON."""
        return {"what": self.what, "fix": self.fix}


def examine(nodes: Sequence[FoundNode]) -> list[Finding]:
    """Check this host, and each node on it.  Changes nothing; needs root for all of it."""
    found: list[Finding] = []
    for check in _CHECKS:
        found += check(nodes)
    return found


def _capabilities(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    missing = [name for name, number in _NEEDED.items() if not has_capability(number)]
    if missing:
        yield Finding(
            f"this process lacks {', '.join(missing)}: not everything can be checked",
            "run as root: sudo snnet host doctor",
        )


def _runtime(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    with contextlib.closing(RealHost()) as host:
        try:
            folder = host.runtime
            disk = os.statvfs(folder)
        except (OSError, SnnetError) as error:
            yield Finding(f"the runtime directory cannot be used: {error}", fix_of(str(error)))
            return
    yield from of_disk(folder, disk)


def of_disk(folder: Path, disk: os.statvfs_result) -> Iterator[Finding]:
    """What of the file system of the runtime directory keeps nodes from changing anything."""
    left = disk.f_bavail * disk.f_frsize
    if disk.f_flag & os.ST_RDONLY:
        mount = next(path for path in (folder, *folder.parents) if os.path.ismount(path))
        yield Finding(
            f"{folder} is read-only: nothing of snnet can be changed here",
            f"mount -o remount,rw {mount}",
        )
    elif left < _LEFT_MIN or (disk.f_files and not disk.f_favail):
        files = "no more files" if disk.f_files and not disk.f_favail else f"{left >> 10} KiB left"
        yield Finding(
            f"the file system of {folder} is full ({files}): what is changed here fails",
            f"free space there: df -h {folder}; df -i {folder}",
        )


def _programs(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    wanted = {"dnsmasq": "guests get no addresses"}
    for node in nodes:
        if node.settings.get("firewall") == "iptables":
            wanted["iptables-restore"] = "tenants have no firewall"
    for program, harm in wanted.items():
        if find_program(program) is None:
            yield Finding(
                f"{program} is not installed: {harm}", f"apt-get install {PACKAGES[program]}"
            )


def _modules(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    host = RealHost(None)
    try:
        driver = plugins.open_driver(plugins.BACKENDS, "netlink", host)
        try:
            for tunnel in sorted(tunnels_of(nodes)):
                if reason := driver.missing(_sample(tunnel)):
                    yield Finding(reason, _module_of(reason) or ADVICE)
        finally:
            driver.close()
    except SnnetError as error:
        yield Finding(f"the kernel cannot be asked: {error}", "run as root")
    finally:
        host.close()


def tunnels_of(nodes: Sequence[FoundNode]) -> set[str]:
    """The kinds of tunnel that nodes with these settings make."""
    configs = [node.settings.get("config", {}) for node in nodes if node.settings]
    made = [
        {"hub": config.get("tunnel", "gre"), "mesh": "vxlan"}.get(config.get("topology", "hub"))
        for config in configs
    ]
    return {tunnel for tunnel in made if tunnel is not None}


def _module_of(reason: str) -> str | None:
    """The command that loads the module that a kind of link needs."""
    found = re.search(r"modprobe [\w-]+", reason)
    return found[0] if found else None


def _sample(tunnel: str) -> Link:
    local, remote = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    return tunnel_link(tunnel, name="snnet-probe", local=local, remote=remote, key=1)


def _mixed_iptables(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    """Rules of both kinds are looked at one after the other, and no tool shows both."""
    if find_program("iptables-legacy-save") is None or find_program("iptables-nft-save") is None:
        return
    kinds = {}
    for kind in ("legacy", "nft"):
        done = run([f"iptables-{kind}-save"], check=False)
        kinds[kind] = any(line.startswith("-A ") for line in done.stdout.splitlines())
    if all(kinds.values()):
        yield Finding(
            "there are rules of iptables-legacy and of iptables-nft: each tool sees only its own",
            "iptables-legacy-save > /root/legacy.rules; for t in raw mangle nat filter; do "
            "iptables-legacy -t $t -F; iptables-legacy -t $t -X; done",
        )


def _networkd(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    # It manages the links of the first process's namespace, and no others.
    if not (Path("/run/systemd/netif/links").exists() and _is_first_namespace()):
        return
    text = "".join(_texts(_NETWORKD_CONF))
    for setting, harm in (
        ("ManageForeignRoutes", "removes routes to guests and concentrators when it restarts"),
        ("ManageForeignRoutingPolicyRules", "removes routing rules of public addresses"),
    ):
        if not re.search(rf"^\s*{setting}\s*=\s*(no|false|0)\s*$", text, re.MULTILINE):
            folder = _NETWORKD_CONF[1]
            yield Finding(
                f"systemd-networkd {harm}",
                f"mkdir -p {folder}; printf '[Network]\\n{setting}=no\\n' > "
                f"{folder}/snnet-{setting.lower()}.conf; systemctl restart systemd-networkd",
            )


def _is_first_namespace() -> bool:
    try:
        return os.path.samefile("/proc/1/ns/net", CURRENT)
    except OSError:
        return False


def _texts(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        for file in sorted(path.glob("*.conf")) if path.is_dir() else [path]:
            if file.is_file():
                yield file.read_text(errors="replace") + "\n"


def _tables(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    """Tables of the kernel that are nearly full."""
    count = _number("net/netfilter/nf_conntrack_count")
    most = _number("net/netfilter/nf_conntrack_max")
    if count is not None and most and count > most * 0.9:
        yield Finding(
            f"net.netfilter.nf_conntrack_count is {count} of {most}: new connections are dropped",
            f"sysctl -w net.netfilter.nf_conntrack_max={most * 4}",
        )
    for version in ("ipv4", "ipv6"):
        most = _number(f"net/{version}/neigh/default/gc_thresh3")
        if most is not None and most < 1024:
            yield Finding(
                f"net.{version}.neigh.default.gc_thresh3 is {most}: a host with many guests "
                "loses neighbours",
                f"sysctl -w net.{version}.neigh.default.gc_thresh3=8192",
            )


def _beside(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    """What no node looks at, in its namespace."""
    for space in dict.fromkeys(node.netns for node in nodes):
        try:
            yield from (Finding(*found) for found in losses(space))
        except SnnetError as error:
            yield Finding(f"{space or 'the host'} cannot be read: {error}", ADVICE)


def _number(path: str) -> int | None:
    try:
        return int((_SYS / path).read_text())
    except (OSError, ValueError):
        return None


def _nodes(nodes: Sequence[FoundNode]) -> Iterator[Finding]:
    """What each node says differs, and what it says stops its traffic."""
    for node in nodes:
        if node.unknown:
            yield Finding(f"{node.title}: {node.unknown}", NOTE_AGAIN)
            continue
        try:
            with opened(node, read_only=True) as it:
                if node.role == "cn" and it.site.mtu < IPV6_MTU_MIN:
                    yield Finding(
                        f"{node.title}: the MTU for guests is {it.site.mtu}, too small for IPv6",
                        f"ip link set dev {it.site.uplink.link_name} mtu 1500",
                    )
                for line in it.verify():
                    yield Finding(f"{node.title}: {line}", fix_of(line))
        except SnnetError as error:
            yield Finding(f"{node.title}: {error}", fix_of(str(error)))


_CHECKS: tuple[Callable[[Sequence[FoundNode]], Iterator[Finding]], ...] = (
    _capabilities,
    _runtime,
    _programs,
    _modules,
    _mixed_iptables,
    _networkd,
    _tables,
    _beside,
    _nodes,
)
