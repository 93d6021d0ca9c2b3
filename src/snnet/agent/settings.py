"""The settings of an agent: a YAML file, by default /etc/snnet/agent.yaml."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from snnet.checks import check_bool, check_choice, check_id, check_many, check_text, shown
from snnet.cluster.problems import check_fields, optional
from snnet.config import NetworkConfig
from snnet.contract import InvalidRequest, check_ttl
from snnet.contract.addresses import host_and_port
from snnet.contract.keywords import refuse_unknown
from snnet.contract.registries import REGISTRY
from snnet.yamlfile import read_yaml

from .membership import SESSION_TTL

ROLES = ("compute", "network")
"""What a host can do: have tenants' VNICs, and run tenants' concentrators."""

LISTEN = "/run/docker/plugins/snnet.sock"
"""Where Docker finds the plugin by itself."""


def _one_host() -> NetworkConfig:
    return NetworkConfig(topology="local")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """All settings of an agent.  Every one has a default: one host, with everything on it.

    ``network`` is a :class:`snnet.NetworkConfig`, here with topology "local" by default.
    ``session_ttl`` (seconds) is how long an agent that says nothing still counts as alive.
    ``metrics`` is "HOST:PORT" for Prometheus and health checks, None for neither.
    ``docker`` makes the agent serve Docker's network plugin, at the Unix socket ``listen``:
    the name of that file without ".sock" is the driver's name in Docker.
    """

    node: str = field(default_factory=socket.gethostname)
    roles: tuple[str, ...] = ROLES
    registry: str = REGISTRY
    network: NetworkConfig = field(default_factory=_one_host)
    backend: str = "netlink"
    firewall: str = "nftables"
    dhcp: str = "dnsmasq"
    docker: bool = False
    session_ttl: float = SESSION_TTL
    metrics: str | None = None
    listen: str = LISTEN

    def __post_init__(self) -> None:
        check_fields(
            self,
            {
                "node": check_id,
                "roles": _roles,
                "registry": check_text,
                "network": _network,
                "backend": check_text,
                "firewall": check_text,
                "dhcp": check_text,
                "docker": check_bool,
                "session_ttl": check_ttl,
                "metrics": optional(_host_and_port),
                "listen": _socket,
            },
        )
        if self.docker and "compute" not in self.roles:
            raise InvalidRequest(
                "needs the role 'compute', since containers have VNICs", field="docker"
            )

    @classmethod
    def read(cls, path: Path) -> AgentSettings:
        """Read a YAML file.  InvalidRequest names the file, and everything wrong in it."""
        data = read_yaml(path, "config")
        try:
            return cls.from_dict({} if data is None else data)
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgentSettings:
        """Make settings of plain data; unknown names are refused."""
        if not isinstance(data, Mapping):
            raise InvalidRequest(f"{shown(data)} is not a mapping of settings", field="config")
        refuse_unknown(data, {item.name for item in fields(cls)}, "unknown setting")
        return cls(**data)


def _roles(value: Any, name: str) -> tuple[str, ...]:
    roles = check_many(value, name, lambda item, where: check_choice(item, where, ROLES))
    if not roles:
        raise InvalidRequest(f"give at least one of {', '.join(ROLES)}", field=name)
    return roles


def _network(value: Any, name: str) -> NetworkConfig:
    if isinstance(value, NetworkConfig):
        return value
    try:
        return NetworkConfig.from_dict({"topology": "local", **value})
    except TypeError:
        raise InvalidRequest(f"{shown(value)} is not a mapping of settings", field=name) from None
    except InvalidRequest as error:
        raise InvalidRequest(str(error), field=name) from None


def _socket(value: Any, name: str) -> str:
    path = Path(check_text(value, name))
    if path.is_absolute() and path.suffix == ".sock":
        return str(path)
    raise InvalidRequest(
        f"{shown(value)} is not the absolute path of a socket like {LISTEN!r}: to listen on TCP, "
        "use 'snnet docker-plugin serve'",
        field=name,
    )


def _host_and_port(value: Any, name: str) -> str:
    if isinstance(value, str) and host_and_port(value):
        return value
    raise InvalidRequest(f"{shown(value)} is not HOST:PORT like '127.0.0.1:9102'", field=name)
