"""Every node calls the installed listener without any configuration."""

import json

import pytest

import snnet


@pytest.fixture
def kernel():
    kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    return kernel


@pytest.fixture
def node(kernel):
    config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
    with snnet.ComputeNode("cn-1", config, backend=kernel, firewall="none") as node:
        node.init()
        yield node


def vnic(number=9):
    return snnet.VnicConfig(
        tenant_id="acme",
        subnet_id="web",
        vnic_id=f"v{number}",
        instance_id=f"i{number}",
        concentrator_id="cnci-1",
        concentrator_ip="192.0.2.10",
        subnet="10.1.0.0/24",
        subnet_key=7,
        ip=f"10.1.0.{number}",
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_come_as_lines(node, tmp_path, monkeypatch):
    path = tmp_path / "events"
    monkeypatch.setenv("SNNET_JSON_EVENTS", str(path))
    node.create_vnic(vnic(9))
    node.create_vnic(vnic(10))
    node.destroy_vnic(vnic(10))
    node.destroy_vnic(vnic(9))
    found = lines(path)
    assert [(line["what"], line["type"]) for line in found] == [
        ("TunnelEvent", "add"),
        ("TunnelEvent", "del"),
    ]
    assert found[0]["node"] == "cn:cn-1"
    assert found[0]["subnet"] == "10.1.0.0/24"
    assert found[0]["time"].endswith("+00:00")


def test_failures_come_as_lines(node, kernel, tmp_path, monkeypatch):
    path = tmp_path / "events"
    monkeypatch.setenv("SNNET_JSON_EVENTS", str(path))
    kernel.fail(at=2, error="ENOMEM")
    with pytest.raises(snnet.Exhausted):
        node.create_vnic(vnic())
    (line,) = lines(path)
    assert (line["what"], line["error"]) == ("Failure", "Exhausted")
    assert "Cannot allocate memory" in line["message"]


def test_without_a_file_they_go_to_stderr(node, monkeypatch, capfd):
    monkeypatch.delenv("SNNET_JSON_EVENTS", raising=False)
    node.create_vnic(vnic())
    assert json.loads(capfd.readouterr().err)["type"] == "add"


def test_a_file_that_cannot_be_written_harms_nobody(node, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("SNNET_JSON_EVENTS", str(tmp_path))
    node.create_vnic(vnic())
    assert "JsonEvents" in caplog.text
