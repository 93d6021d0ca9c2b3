"""``snnet host report``: all that helps, and nothing that is secret or the tenants'."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from snnet.doctor.report import without_secrets

from .test_host import Host

OF_A_HOST = (
    "links", "addresses", "routes", "routes6", "policies", "policies6", "neighbours", "ports",
    "forwarding", "queues", "nftables", "iptables", "iptables6", "parameters",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("registry: etcd://root:pw1@h1:2379,h2:2379/ns", "registry: etcd://root:***@h1:2379,h2:2379/ns"),
        ("etcd://root:p@ss@h1/ns and etcd://h2:2379", "etcd://root:***@h1/ns and etcd://h2:2379"),
        ("etcd://root@h1:2379", "etcd://root@h1:2379"),
        ("etcd_password: hunter2", "etcd_password: ***"),
        ('{"token": "a b", "port": 7}', '{"token": ***, "port": 7}'),
        ("SNNET_ETCD_PASSWORD='a b' snnet", "SNNET_ETCD_PASSWORD=*** snnet"),
        ("?user=me&password=x&ca=f", "?user=me&password=***&ca=f"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("net.ipv6.conf.eth0.stable_secret = fe80::1", "net.ipv6.conf.eth0.stable_secret = ***"),
        ("net.ipv4.tcp_fastopen_key = 01-02", "net.ipv4.tcp_fastopen_key = ***"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb", "a\n***\nb"),
        ("subnet_key: 7, mac 02:00:0a:01:00:09", "subnet_key: 7, mac 02:00:0a:01:00:09"),
        ("the value is tr0ub4dor", "the value is ***"),
    ],
)  # fmt: skip
def test_secrets_are_left_out(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNET_ETCD_PASSWORD", "tr0ub4dor")
    assert without_secrets(text) == shown


@pytest.mark.kernel
def test_a_report_of_a_real_host(make_netns: Callable[[], str], tmp_path: Path) -> None:
    """It is listed first, and written only after a yes; its parts are what the commands say."""
    host = Host(make_netns())
    settings = tmp_path / "agent.yaml"
    settings.write_text("registry: etcd://root:hunter2@192.0.2.9\n")
    file = tmp_path / "report.tar.gz"
    command = [
        "nsenter", f"--net=/run/netns/{host.netns}", sys.executable, "-m", "snnet", "host",
        "report", str(file), "--config", str(settings),
    ]  # fmt: skip
    host.do(f"ip link set {host.link} nomaster")
    refused = subprocess.run(command, input="n\n", capture_output=True, text=True)
    assert (refused.returncode, file.exists()) == (1, False)
    names = [
        "versions.txt", "nodes.json", "show.json", "verify.txt", "doctor.json", "agent.yaml",
        "logs.txt", *(f"host/{name}.txt" for name in OF_A_HOST),
    ]  # fmt: skip
    assert [line.split()[0] for line in refused.stdout.splitlines()[:-1]] == names
    done = subprocess.run(command, input="y\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        texts = {entry.name: archive.extractfile(entry).read().decode() for entry in archive}  # type: ignore[union-attr]
    assert list(texts) == [f"snnet-report/{name}" for name in names]
    assert "hunter2" not in "".join(texts.values())
    assert texts["snnet-report/agent.yaml"] == "registry: etcd://root:***@192.0.2.9\n"
    (node,) = json.loads(texts["snnet-report/show.json"])
    assert node["tenants"]["acme"]["subnets"]["web"]["vnics"][0]["link_name"] == host.link
    assert host.link in texts["snnet-report/verify.txt"]
    assert json.loads(texts["snnet-report/doctor.json"])
    assert f"{host.link}:" in texts["snnet-report/host/links.txt"]
    assert "table bridge snnet" in texts["snnet-report/host/nftables.txt"]
