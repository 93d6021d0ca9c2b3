"""The settings of an agent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from snnet import InvalidRequest, NetworkMode
from snnet.agent.settings import AgentSettings


def test_the_defaults_are_one_host_with_everything() -> None:
    settings = AgentSettings()
    assert settings.node == socket.gethostname()
    assert settings.roles == ("compute", "network")
    assert settings.registry == "sqlite:///var/lib/snnet/registry.db"
    assert settings.network.topology == "local"
    assert (settings.backend, settings.firewall, settings.dhcp) == (
        "netlink", "nftables", "dnsmasq"
    )  # fmt: skip
    assert settings.metrics is None
    assert not settings.docker
    assert settings.listen == "/run/docker/plugins/snnet.sock", "where Docker finds it"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(
        "node: host-1\nroles: [compute]\nregistry: 'memory:'\n"
        "network: {topology: hub, tunnel: vxlan}\nfirewall: iptables\nmetrics: 127.0.0.1:9102\n"
        "docker: true\nlisten: /run/docker/plugins/tenants.sock\n"
    )
    settings = AgentSettings.read(path)
    assert settings.node == "host-1"
    assert settings.roles == ("compute",)
    assert settings.network.tunnel == "vxlan"
    assert settings.network.mode is NetworkMode.GRE_TUNNEL
    assert settings.firewall == "iptables"
    assert settings.docker
    assert settings.listen == "/run/docker/plugins/tenants.sock"
    path.write_text("")
    assert AgentSettings.read(path).network.topology == "local"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: x", r"nodes: unknown setting \(did you mean 'node'\?\); use one of backend"),
        ("roles: [storage]", r"roles\[0\]: 'storage' is not one of 'compute', 'network'"),
        ("roles: []", "roles: give at least one of compute, network"),
        ("network: {tunel: gre}", "network: tunel: unknown setting"),
        ("network: 7", "network: 7 is not a mapping"),
        ("metrics: 9102", "metrics: 9102 is not HOST:PORT"),
        ("docker: 2", "docker: 2 is neither True nor False"),
        ("docker: true\nroles: [network]", "docker: needs the role 'compute', since containers"),
        ("listen: 127.0.0.1:9999", "listen: '127.0.0.1:9999' is not the absolute path of a socket"),
        ("listen: /run/docker/plugins/snnet", "listen: .* to listen on TCP, use 'snnet docker-pl"),
        ("[1]", "is not a mapping of settings"),
        ("[]", "is not a mapping of settings"),
        ("false", "is not a mapping of settings"),
        ("mtu: 1400\nmtu: 1300", "line 2, column 1 is not YAML: 'mtu' is there twice"),
        ("node: '?'\nmetrics: x\nroles: 3", "node: .*roles: .*metrics: "),
        ("a: [", "line 1, column 5 is not YAML"),
        ("a: &a [*a]", "cannot read .*: an alias stands for what contains it"),
    ],
)
def test_everything_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=message) as caught:
        AgentSettings.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read .*No such file"):
        AgentSettings.read(tmp_path / "agent.yaml")
