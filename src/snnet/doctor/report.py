"""A problem report: what one must know of a host to help it, as texts without secrets."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from snnet import __version__
from snnet.contract import SnnetError
from snnet.system.netns import open_netns
from snnet.system.process import run

from .checks import examine
from .survey import FoundNode, differences, look

_UNITS = ("snnet-agent", "snnet-docker-plugin")
_LOG_LINES = 2000
_PATIENCE = 30.0
"""Seconds that one command may take."""

_COMMANDS = (
    ("links", "links with their settings and counters", "ip -d -s link"),
    ("addresses", "addresses", "ip address"),
    ("routes", "routes", "ip route show table all"),
    ("routes6", "routes of IPv6", "ip -6 route show table all"),
    ("policies", "routing policies", "ip rule"),
    ("policies6", "routing policies of IPv6", "ip -6 rule"),
    ("neighbours", "neighbours", "ip neighbour"),
    ("ports", "ports of bridges", "bridge -d link"),
    ("forwarding", "forwarding tables of bridges", "bridge fdb"),
    ("queues", "queues of links, with what they dropped", "tc -s qdisc"),
    ("nftables", "rules of nftables, also of others", "nft list ruleset"),
    ("iptables", "rules of iptables", "iptables-save -c"),
    ("iptables6", "rules of ip6tables", "ip6tables-save -c"),
    ("parameters", "parameters of the network", r"sysctl -a -r ^net\.(ipv[46]|bridge)\."),
)

_PROGRAMS = ("ip -V", "nft --version", "iptables --version", "dnsmasq --version")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a report: its name, what it is, and its text, from which secrets are gone."""

    name: str
    what: str
    text: str


def collect(nodes: Sequence[FoundNode], settings: Path | None) -> list[Part]:
    """Read everything; what cannot be read has the reason in its place.  Changes nothing.

    ``settings`` is the file of the agent's settings.  Not read are leases, connections, and
    the documents of the registry: they are the tenants'.
    """
    parts = [
        Part("versions.txt", "versions of snnet, the kernel and programs", _versions()),
        Part("nodes.json", "the nodes of this host and their settings", _json(_nodes(nodes))),
        Part("show.json", "what each node has", _json(_shown())),
        Part("verify.txt", "what differs from what each node wants", _verified(nodes)),
        Part("doctor.json", "what breaks networks here", _json(_read(lambda: _doctor(nodes)))),
        Part("agent.yaml", "the settings of the agent", _settings(settings)),
        Part("logs.txt", f"the last {_LOG_LINES} lines that services of snnet logged", _logs()),
    ]
    for netns in dict.fromkeys([None, *(node.netns for node in nodes)]):
        parts += _host(netns)
    return [Part(part.name, part.what, without_secrets(part.text)) for part in parts]


def packed(parts: Sequence[Part]) -> bytes:
    """Return a report as .tar.gz, whose files only their owner can read once unpacked."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for part in parts:
            text = part.text.encode()
            entry = tarfile.TarInfo(f"snnet-report/{part.name}")
            entry.size, entry.mtime, entry.mode = len(text), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(text))
    return data.getvalue()


_KEY = r"(?:api|private|auth|fastopen)[_-]?key"
_SECRET = rf"(?:pass(?:word|wd|phrase)?|secret|token|credentials?|psk|{_KEY})"
_VALUE = r"""("[^"]*"|'[^']*'|[^\s,;&}]+)"""
_SECRETS = (
    # A URL's password.
    (re.compile(r"""(//[^\s/:@'"]*):[^\s/'"]*@"""), r"\1:***@"),
    # NAME=VALUE, NAME: VALUE and "NAME": "VALUE".
    (re.compile(rf"""([\w-]*{_SECRET}[\w-]*["']?\s*[:=]\s*){_VALUE}""", re.I), r"\1***"),
    (re.compile(r"(authorization\s*[:=]\s*)(?:(?:basic|bearer)\s+)?\S+", re.I), r"\1***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [^-]*-----", re.S), "***"),
)


def without_secrets(text: str) -> str:
    """The text without passwords, tokens and private keys, wherever their name shows what they are.

    Values of environment variables named like secrets are removed wherever they stand.
    """
    for name, value in os.environ.items():
        if len(value) > 3 and re.search(_SECRET, name, re.I):
            text = text.replace(value, "***")
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _versions() -> str:
    lines = [f"snnet {__version__}", f"python {platform.python_version()}"]
    lines += [f"kernel {platform.release()} {platform.machine()}"]
    for name in ("pyroute2", "oxl-libnftables", "pluggy", "stevedore", "click", "rich"):
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name}: not installed")
    for command in _PROGRAMS:
        lines.append(f"{command}: {_said(command).partition(chr(10))[0]}")
    release = Path("/etc/os-release")
    return "\n".join(
        [*lines, "", release.read_text("utf-8", "replace") if release.exists() else ""]
    )


def _nodes(nodes: Sequence[FoundNode]) -> list[dict[str, object]]:
    return [{"name": node.owner, "netns": node.netns, "settings": node.settings} for node in nodes]


def _shown() -> list[dict[str, object]]:
    return [
        {"name": seen.node.owner, "netns": seen.node.netns, **seen.to_dict()} for seen in look()
    ]


def _verified(nodes: Sequence[FoundNode]) -> str:
    found = [f"{node.title}: {line}" for node in nodes for line in differences(node)]
    return "\n".join(found or ["everything is as it should be", ""])


def _doctor(nodes: Sequence[FoundNode]) -> object:
    return [finding.to_dict() for finding in examine(nodes)]


def _settings(path: Path | None) -> str:
    if path is None:
        return "there is no file: defaults\n"
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        return f"{path}: {error.strerror}\n"


def _logs() -> str:
    units = " ".join(f"-u {unit}" for unit in _UNITS)
    return _said(f"journalctl --no-pager --quiet -o short-iso -n {_LOG_LINES} {units}")


def _host(netns: str | None) -> Iterator[Part]:
    """What the kernel has in one namespace."""
    where = f" in {netns}" if netns else ""
    fd = None
    try:
        fd = open_netns(netns)
        for name, what, command in _COMMANDS:
            text = f"# {command}\n{_said(command, fd)}"
            yield Part(f"{netns or 'host'}/{name}.txt", f"{what}{where}", text)
    except SnnetError as error:
        yield Part(f"{netns or 'host'}/error.txt", f"why there is nothing{where}", f"{error}\n")
    finally:
        if fd is not None:
            os.close(fd)


def _said(command: str, netns: int | None = None) -> str:
    """What a command printed, or why it did not."""
    try:
        done = run(command.split(), netns=netns, timeout=_PATIENCE, check=False)
    except SnnetError as error:
        return f"{error}\n"
    return done.stdout or done.stderr


def _read(look: Callable[[], object]) -> object:
    """What is found, or the error."""
    try:
        return look()
    except SnnetError as error:
        return {"error": str(error)}


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
