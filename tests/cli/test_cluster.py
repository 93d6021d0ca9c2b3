"""The commands that speak to a registry, by the real entry point, with an agent on a fake host."""

from __future__ import annotations

import json
import os
import pty
import shlex
import socket
import subprocess
import sys
import termios
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from snnet import Agent, Cluster, FakeKernel, NetworkConfig
from snnet.cli import main
from snnet.cli.app import snnet
from snnet.system.process import find_program

EXAMPLES = Path(__file__).parents[2] / "examples"
HOST = socket.gethostname()


class Shell:
    """Types commands; the registry is that of the environment."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cluster = Cluster(url)

    def __call__(self, line: str, code: int = 0, input: str | None = None) -> Result:
        """Run a command; it must end with this exit code."""
        result = CliRunner().invoke(
            snnet, shlex.split(line), env={"SNNET_REGISTRY": self.url, "COLUMNS": "80"}, input=input
        )
        assert result.exit_code == code, result.output
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, line: str, code: int = 0) -> Any:
        """What a command prints as JSON."""
        return json.loads(self(f"{line} --json", code).stdout)


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A registry that no agent follows."""
    shell = Shell(f"memory:{uuid.uuid4()}")
    yield shell
    shell.cluster.close()


def agent_of(shell: Shell) -> Agent:
    """An agent of this host, not started yet."""
    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    config = NetworkConfig(topology="local")
    return Agent(HOST, config, registry=shell.url, backend=kernel, firewall="fake", dhcp="fake")


@pytest.fixture
def served(shell: Shell) -> Iterator[Shell]:
    """A registry that the agent of this host follows, on a fake kernel."""
    agent = agent_of(shell)
    agent.step(0)
    agent.start()
    yield shell
    agent.stop()


def lines(result: Result) -> list[list[str]]:
    """The cells of a table, without its rule."""
    found = [line.split() for line in result.stdout.splitlines()]
    return [found[0], *found[2:]]


def test_from_nothing_to_a_forward(served: Shell) -> None:
    """The four commands that everybody types first, each waiting until it is done."""
    assert served("network create web --subnet 10.1.0.0/24").stdout == (
        "network 'web' (10.1.0.0/24): ready\n"
    )
    made = served("vnic create v1 --network web").stdout
    assert made.startswith("vnic 'v1' (10.1.0.2, 02:00:0a:01:00:02, link snv-")
    assert made.endswith(f" on {HOST}): ready\n")
    assert served("forward create --network web --port 8080 --to v1 --to-port 80").stdout == (
        "forward 'tcp-8080' (to v1): ready\n"
    )
    assert "objects: 3 ready" in served("status --wait").stdout
    assert f"node {HOST}: ready (compute, network)" in served("status").stdout


def test_what_prevents_an_agent_from_working_is_said(shell: Shell) -> None:
    config = NetworkConfig(topology="local")
    agent = Agent(
        HOST, config, registry=shell.url, backend=FakeKernel(), firewall="fake", dhcp="fake"
    )  # fmt: skip
    agent.start()
    try:
        made = shell("network create web --subnet 10.1.0.0/24 --timeout 1", 1).stdout
        assert f"still pending after 1 s: node {HOST}: compute_nets: no nets are given" in made
        said = shell("status").stdout
        assert f"node {HOST}: failing (compute, network): compute_nets: no nets are given" in said
        (node,) = shell.json("node list")
        assert node["problem"].startswith("compute_nets: ")
    finally:
        agent.stop()


def test_leases_of_concentrators_on_other_hosts_are_not_asked_for(served: Shell) -> None:
    """Their namespaces are not on this one, as that of the fake kernel is not."""
    served("network create web --subnet 10.1.0.0/24")
    assert served.cluster.get_network("default", "web").status.details["netns"]
    assert served("lease list").stderr == "no leases on this host\n"
    assert served.json("lease list") == []


def test_public_addresses(served: Shell) -> None:
    served("network create web --subnet 10.1.0.0/24")
    served("vnic create v1 --network web")
    assert served("public-ip create 192.0.2.50 --to v1").stdout == (
        "public-ip '192.0.2.50' (to v1): ready\n"
    )
    heads, row = lines(served("public-ip list"))
    assert dict(zip(heads, row, strict=True)) | {"TO": "v1"} == dict(zip(heads, row, strict=True))
    (found,) = served.json("public-ip list")
    assert (found["address"], found["to"], found["state"]) == ("192.0.2.50", "v1", "ready")
    served("public-ip create 192.0.2.11 --to v1", 1)
    assert "192.0.2.11 is an address of" in served("public-ip list -o wide").stdout
    served("public-ip create nonsense --to v1", 2)
    served("public-ip delete 192.0.2.50")
    assert [item["address"] for item in served.json("public-ip list")] == ["192.0.2.11"]


def test_without_an_agent_things_are_stored(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting fails with the command that helps; not waiting is fine."""
    monkeypatch.setattr("snnet.cli.waiting.STARTING", 0.1)
    assert shell("network create web --subnet 10.1.0.0/24", 1).stdout == (
        "network 'web' (10.1.0.0/24): stored; no agent with the role 'network' is running: "
        "start one with 'snnet agent'\n"
    )
    assert "no agent is running on this host" in shell("vnic create v1 --network web", 1).stdout
    elsewhere = shell("vnic create v2 --network web --node cn-9", 1).stdout
    assert "no agent is running on node 'cn-9'" in elsewhere
    assert shell("vnic create v3 --network web --no-wait").stdout.endswith(": stored\n")
    assert [vnic.name for vnic in shell.cluster.list_vnics()] == ["v1", "v2", "v3"]
    said = shell("status").stdout
    assert "objects: 4 pending" in said
    assert "no agent with the role 'network' is running" in said
    assert "no agent is running on node 'cn-9'" in said
    shell("status --wait --timeout 0.1", 1)


def test_what_an_agent_said_before_it_ended_is_not_waited_for_in_vain(shell: Shell) -> None:
    with agent_of(shell) as agent:
        agent.start()
        shell("network create web --subnet 10.1.0.0/24")
        shell("vnic create v1 --network web")
        assert shell("status --wait").stderr == ""
    found = shell("status --wait --timeout 0", 1)
    assert "objects: 2 ready" in found.stdout
    assert found.stderr.splitlines() == [
        "snnet: no agent with the role 'network' is running: start one with 'snnet agent'",
        "snnet: no agent is running on this host: start it with 'snnet agent'",
    ]
    assert "no agent" in shell("status").stdout
    shell.cluster.delete_network("default", "web", force=True)
    shell("status --wait --timeout 0")


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_standard_stream_that_is_closed_is_none_of_the_next_files(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shell.cluster.create_network("web", subnet="10.1.0.0/24")
    monkeypatch.setattr(sys, name, None)
    monkeypatch.setattr(sys, "argv", ["snnet", "network", "list", "--registry", shell.url])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    with getattr(sys, name) as stream:
        assert stream.name == os.devnull


def test_an_agent_that_is_just_starting_is_waited_for(shell: Shell) -> None:
    """``snnet agent &`` may be followed by a command at once."""
    with agent_of(shell) as agent:
        starting = threading.Timer(0.3, agent.start)
        starting.start()
        assert shell("network create web --subnet 10.1.0.0/24").stdout.endswith(": ready\n")
        starting.join()


def test_tables_fit_80_columns(served: Shell) -> None:
    served("network create web --subnet 10.1.0.0/24")
    served("vnic create v1 --network web")
    result = served("vnic list")
    assert lines(result)[0] == ["NAME", "NETWORK", "IP", "NODE", "LINK", "STATE"]
    assert lines(result)[1][:4] == ["v1", "web", "10.1.0.2", HOST]
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    wide = lines(served("vnic list -o wide"))
    assert wide[0] == [
        "NAME",
        "NETWORK",
        "IP",
        "MAC",
        "ROLE",
        "GROUPS",
        "RATE-TO",
        "RATE-FROM",
        "NODE",
        "LINK",
        "STATE",
        "ERROR",
    ]
    assert lines(served("network list -A"))[0] == ["TENANT", "NAME", "SUBNET", "STATE"]
    assert lines(served("node list"))[1][0] == HOST


def test_lists_for_programs(served: Shell) -> None:
    """Arrays of objects with name, tenant and state; empty ones are empty arrays."""
    assert served.json("vnic list") == []
    assert served("vnic list").stdout == ""
    served("network create web --subnet 10.1.0.0/24 --tenant acme")
    served("vnic create v1 --network web --tenant acme --role container")
    served("forward create --network web --port 80-81 --to v1 --tenant acme")
    for kind in ("network", "vnic", "forward"):
        assert served.json(f"{kind} list") == []
        (item,) = served.json(f"{kind} list --tenant acme")
        assert {"name", "tenant", "state"} <= item.keys()
        assert item["state"] == "ready"
        assert yaml.safe_load(served(f"{kind} list -A -o yaml").stdout) == [item]
    (vnic,) = served.json("vnic list -A")
    assert served.json("vnic show v1 --tenant acme") == vnic
    assert vnic["ip"] == ["10.1.0.2"]
    assert vnic["peer_name"]
    assert served.json("vnic list -A --network db") == []
    assert served.json(f"node show {HOST}")["topology"] == "local"
    assert served.json("status")["objects"]["vnic"] == {"ready": 1}


def test_owners_by_number_and_tenants_once(shell: Shell) -> None:
    shell("network create web --subnet 10.1.0.0/24 --no-wait")
    shell("vnic create v1 --network web --owner 1001 --no-wait")
    assert shell.cluster.get_vnic("default", "v1").owner == 1001
    shell("vnic update v1 --owner 1002 --no-wait")
    assert shell.cluster.get_vnic("default", "v1").owner == 1002
    for kind in ("network", "vnic"):
        heads = lines(shell(f"{kind} list -A -o wide"))[0]
        assert heads.count("TENANT") == 1


def test_changes_and_deletion(served: Shell) -> None:
    served("network create web --subnet 10.1.0.0/24")
    served("vnic create v1 --network web")
    served("forward create --network web --port 80 --to v1")
    assert served("vnic update v1 --mtu 1400").stdout.endswith(": ready\n")
    assert served.json("vnic show v1")["mtu"] == 1400
    served("vnic update v1 --extra-address 10.1.0.200 --extra-address 172.17.0.0/16")
    served("vnic update v1 --no-anti-spoofing")
    shown = served.json("vnic show v1")
    assert shown["extra_addresses"] == ["10.1.0.200", "172.17.0.0/16"]
    assert shown["anti_spoofing"] is False
    served("vnic update v1 --no-extra-addresses --anti-spoofing")
    shown = served.json("vnic show v1")
    assert "extra_addresses" not in shown
    assert shown["anti_spoofing"] is True
    served("vnic update v1 --rate-to-guest 50mbit --rate-from-guest 1gbit")
    shown = served.json("vnic show v1")
    assert (shown["rate_to_guest"], shown["rate_from_guest"]) == (50_000_000, 1_000_000_000)
    assert "rate to guest    50mbit" in served("vnic show v1").stdout
    wide = served("vnic list -o wide").stdout.splitlines()
    assert wide[0].split()[6:8] == ["RATE-TO", "RATE-FROM"]
    assert "50mbit   1gbit" in wide[2]
    assert (
        "rate_to_guest: '1kbit' is not from"
        in served("vnic update v1 --rate-to-guest 1kbit", 2).stderr
    )
    served("vnic update v1 --no-rates --rate-from-guest 2gbit")
    shown = served.json("vnic show v1")
    assert "rate_to_guest" not in shown
    assert shown["rate_from_guest"] == 2_000_000_000
    served("vnic update v1 --no-rates")
    assert "rate_from_guest" not in served.json("vnic show v1")
    served("network update web --mtu 1300")
    refused = served("network delete web", 1)
    assert refused.stderr == (
        "snnet: network 'web' has the VNICs v1: delete them first, or use force\n"
    )
    assert "is the target of forward 'tcp-80'" in served("vnic delete v1", 1).stderr
    served("forward delete tcp-80")
    served("vnic delete v1")
    served("network delete web")
    served("network delete web")
    assert served.json("network list") == []


def test_groups(served: Shell) -> None:
    """Created, shown, changed and deleted, and what VNICs are in them."""
    served("network create web --subnet 10.1.0.0/24")
    made = served("group create web --rule 'in tcp 80,443' --rule out")
    assert made.stdout == "group 'web': ready\n"
    served("vnic create v1 --network web --group web")
    assert served.json("vnic show v1")["groups"] == ["web"]
    rules = ["in tcp 80,443 from anybody", "out anything to anybody"]
    assert served.json("group list") == [
        {"name": "web", "tenant": "default", "rules": rules, "state": "ready"}
    ]
    assert "in tcp 80,443 from anybody" in served("group show web").stdout
    assert served("group update web --rule 'in icmp 8'").stdout == "group 'web': ready\n"
    assert served.json("group show web")["rules"] == ["in icmp 8 from anybody"]
    refused = served("group delete web", 1)
    assert "snnet: group 'web' is used by vnic 'v1': change or delete them first" in refused.stderr
    served("vnic update v1 --no-groups")
    served("group update web --no-rules")
    assert "rules" not in served.json("group show web")
    assert served.json("status")["objects"]["group"] == {"ready": 1}
    served("group delete web")
    assert served("group list").stderr == "no groups: 'snnet group create' makes one\n"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("network create web", 2, "Missing option '--subnet'"),
        ("network create web --subnet 10.1.0.1/24", 2, "snnet: subnet[0]: '10.1.0.1/24' is not"),
        ("network create ? --subnet 10.1.0.0/24 --mtu 1", 2, "name: '?' is not an id"),
        ("vnic create v1 --network nope", 2, "network: tenant 'default' has no network 'nope'"),
        ("vnic show nope", 1, "snnet: there is no vnic 'nope'"),
        ("vnic update v1", 2, "say what to change"),
        ("group create web --rule 'in tcp 0'", 2, "snnet: rules[0]: ports: '0' is not a list"),
        ("group update web", 2, "give --rule, once for each rule, or --no-rules"),
        ("group show nope", 1, "there is no group 'nope'"),
        ("vnic update v1 --group a --no-groups", 2, "give --group or --no-groups, not both"),
        ("vnic frob", 2, "No such command 'frob'"),
        ("frob", 2, "No such command 'frob'"),
        ("node show nope", 1, "there is no node 'nope'"),
        ("--debug vnic show nope", 1, "Traceback"),
    ],
)
def test_errors_are_one_paragraph(shell: Shell, line: str, code: int, message: str) -> None:
    result = shell(line, code)
    assert message in result.stderr
    if "--debug" not in line:
        assert "Traceback" not in result.output


FILE = """\
kind: network
name: web
subnet: 10.1.0.0/24
---
kind: vnic
name: v1
network: web
---
kind: forward
network: web
port: 8080
to: v1
to_port: 80
"""


def test_apply_and_export(served: Shell, tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(FILE)
    dry = served(f"apply -f {path} --dry-run").stdout
    assert dry.endswith("dry run: nothing was changed\n")
    assert served.json("network list") == []
    applied = served(f"apply -f {path} -o json").stdout
    assert [item["action"] for item in json.loads(applied)] == ["created"] * 3
    assert served(f"apply -f {path}").stdout == "3 kept as they are\n"
    served("status --wait")
    exported = served("export").stdout
    assert served("apply -f -", input=exported).stdout == "3 kept as they are\n"
    served("apply -f - --prune", input=FILE.partition("---")[0])
    assert served.json("vnic list") == []
    assert [item["name"] for item in served.json("network list")] == ["web"]


def test_everything_wrong_in_a_file_is_named_with_its_line(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(FILE.replace("10.1.0.0/24", "10.1.0.1/24").replace("port: 8080", "porto: 1"))
    result = shell(f"apply -f {path}", 2)
    first, second = result.stderr.splitlines()
    assert first.startswith(f"snnet: {path}:3: network 'web' (document 1): subnet")
    assert second.startswith(f"snnet: {path}:11: document 3: porto: unknown field of a forward")
    path.write_text(f"{FILE}---\nkind: network\nname: db\nsubnet: 10.1.0.0/16\n")
    path.write_text(path.read_text().replace("network: web", "network: gone"))
    lines = shell(f"apply -f {path}", 2).stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"{path}:{line}" for line in (7, 10, 17)]
    path.write_text("kind: network\nname: [\n")
    assert f"{path}:3:1: this is not YAML" in shell(f"apply -f {path}", 2).stderr
    path.write_text("kind: network\nname: a\nname: b\n")
    assert f"{path}:3:1: this is not YAML: 'name' is there twice" in (
        shell(f"apply -f {path}", 2).stderr
    )
    assert shell("apply -f /nonexistent", 2).stderr
    bomb = "a: &a [1]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 20)}]\n"
        for before, name in zip("abcdefg", "bcdefgh", strict=True)
    )
    path.write_text(bomb)
    assert "cannot read" in shell(f"apply -f {path}", 2).stderr
    few = "a: &a {x: 1}\n" + "".join(
        f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
        for before, name in zip("abcdefg", "bcdefgh", strict=True)
    )
    path.write_text(few)
    assert "it stands for more than" in shell(f"apply -f {path}", 2).stderr
    path.write_text("[" * 10_000)
    assert "nested too deeply" in shell(f"apply -f {path}", 2).stderr


def test_what_a_file_says_is_taken_as_it_is_written(served: Shell) -> None:
    """A MAC of digits is no number, and a name of digits is text only in quotes."""
    file = (
        "---\nkind: network\nname: 007\nsubnet: 10.1.0.0/24\n---\nkind: vnic\nname: v1\n"
        "network: 007\nmac: 52:54:00:12:34:56\n---\n"
    )
    served("apply -f -", input=file)
    assert [item["mac"] for item in served.json("vnic list")] == ["52:54:00:12:34:56"]
    assert served("apply -f -", input=served("export").stdout).stdout == "2 kept as they are\n"
    said = served("apply -f -", 2, input=file.replace("007", "7")).stderr
    assert "name: 7 is not an id" in said
    assert "in YAML, write it in quotes" in said


def test_how_guests_use_their_vnics(served: Shell) -> None:
    served("network create web --subnet 10.1.0.0/24")
    served("vnic create v1 --network web")
    served("vnic create c1 --network web --role container")
    link = served.json("vnic show v1")["link_name"]
    assert served("vnic qemu-args v1").stdout == (
        f"-netdev tap,id={link},ifname={link},script=no,downscript=no "
        f"-device virtio-net-pci,netdev={link},mac=02:00:0a:01:00:02,host_mtu=1500\n"
    )
    element = ElementTree.fromstring(served("vnic libvirt-xml v1").stdout)
    target = element.find("target")
    assert target is not None
    assert target.attrib == {"dev": link, "managed": "no"}
    assert "is not for a VM" in served("vnic qemu-args c1", 1).stderr
    assert "is not for a container" in served("vnic attach v1 --pid 1", 1).stderr
    assert "give either --pid or --netns" in served("vnic attach c1", 2).stderr


@pytest.mark.kernel  # for its packages
def test_libvirt_understands_its_element(served: Shell, tmp_path: Path) -> None:
    """It is valid by libvirt's schema, and nothing in it is lost: by its driver for tests."""
    if find_program("virsh") is None:
        pytest.skip("virsh is not installed")
    served("network create web --subnet 10.1.0.0/24")
    served("vnic create v1 --network web --mtu 1400")
    link = served.json("vnic show v1")["link_name"]
    printed = served("vnic libvirt-xml v1").stdout
    domain = (EXAMPLES / "one-host" / "domain.xml").read_text().replace('type="kvm"', 'type="test"')
    file = tmp_path / "domain.xml"
    file.write_text(domain.replace("</devices>", f"{printed}</devices>"))
    commands = f"define --validate {shlex.quote(str(file))}; dumpxml --inactive debian"
    done = subprocess.run(
        ["virsh", "-q", "-c", "test:///default", commands], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    element = ElementTree.fromstring(done.stdout[done.stdout.index("<domain") :]).find(
        ".//interface"
    )
    assert element is not None
    assert element.attrib == {"type": "ethernet"}
    assert {child.tag: child.attrib for child in element if child.tag != "address"} == {
        "mac": {"address": "02:00:0a:01:00:02"},
        "target": {"dev": link, "managed": "no"},
        "model": {"type": "virtio"},
        "mtu": {"size": "1400"},
    }


def test_nodes_are_drained_and_forgotten(served: Shell) -> None:
    served(f"node drain {HOST}")
    assert served.json("node list")[0]["state"] == "draining"
    served(f"node drain {HOST} --undo")
    assert served.json("node list")[0]["state"] == "ready"
    assert "is running: stop it first" in served(f"node forget {HOST}", 1).stderr


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: Shell, name: str) -> None:
    assert "_SNNET_COMPLETE" in shell(f"completion {name}").stdout


def test_names_are_completed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of objects come from the registry; without one, nothing is completed."""
    shell.cluster.create_network("web", subnet="10.1.0.0/24")
    shell.cluster.create_vnic("v10", network="web", node="n")
    shell.cluster.create_vnic("v2", network="web", node="n")

    def completed(words: str, url: str = shell.url) -> list[str]:
        env = {
            "SNNET_REGISTRY": url, "_SNNET_COMPLETE": "bash_complete",
            "COMP_WORDS": f"snnet {words}", "COMP_CWORD": str(words.count(" ") + 1),
        }  # fmt: skip
        result = CliRunner().invoke(snnet, [], env=env, prog_name="snnet")
        return [line.partition(",")[2] for line in result.stdout.split()]

    assert completed("vn") == ["vnic"]
    assert completed("vnic show v") == ["v2", "v10"]
    assert completed("vnic create x --network ") == ["web"]
    shell.cluster.set_group("default", "db")
    assert completed("group delete ") == completed("vnic update v2 --group ") == ["db"]
    assert completed("vnic show v", "sqlite:///nonexistent/registry.db") == []


def test_every_command_has_an_example() -> None:
    """Every subcommand's help shows how to type it, and fits 80 columns."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        import click

        context = click.Context(command)
        if not isinstance(command, click.Group):
            yield path, command
            return
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), f"{path} {name}")

    for path, command in walk(snnet, "snnet"):
        result = CliRunner().invoke(snnet, [*path.split()[1:], "--help"], env={"COLUMNS": "80"})
        assert result.exit_code == 0, path
        assert all(len(line) <= 80 for line in result.stdout.splitlines()), path
        assert path in (command.help or ""), path


def test_a_terminal_shows_how_far_it_is(tmp_path: Path) -> None:
    """In one line of stderr, which is gone at the end; programs do not see it."""
    registry, file = f"sqlite://{tmp_path}/registry.db", tmp_path / "three.yaml"
    file.write_text(
        "\n---\n".join(
            f"kind: network\nname: n{number}\nsubnet: 10.{number}.0.0/24" for number in range(3)
        )
    )
    argv = [sys.executable, "-m", "snnet", "apply", "-f", str(file), "--registry", registry]
    ours, theirs = pty.openpty()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "2 of 3 objects stored" in shown
    assert shown.endswith("\r\x1b[K")
    again = subprocess.run(argv, capture_output=True, check=True)
    assert (again.stdout, again.stderr) == (b"3 kept as they are\n", b"")


def test_on_a_terminal_tables_fit_and_are_coloured(tmp_path: Path) -> None:
    """Elsewhere nothing is cut: a line is a line, however long."""
    registry, name = f"sqlite://{tmp_path}/registry.db", "a-name-that-is-longer-than-many-others"
    with Cluster(registry) as cluster:
        cluster.create_network(name, subnet=("10.1.0.0/24", "fd00:1::/64"))
    plain = CliRunner().invoke(snnet, ["network", "list", "--registry", registry]).stdout
    assert name in plain
    assert "\x1b" not in plain
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    environment.pop("COLUMNS", None)
    subprocess.run(
        [sys.executable, "-m", "snnet", "network", "list", "--registry", registry],
        stdout=theirs, env=environment, check=True,
    )  # fmt: skip
    os.close(theirs)
    with open(ours, encoding="utf-8") as terminal:
        title, rule, row = (next(terminal).rstrip() for _ in range(3))
    assert title.startswith("\x1b[1mNAME")
    assert "\x1b[33mpending\x1b[0m" in row
    assert "…" in row
    assert {len(rule), len(click.unstyle(row))} == {60}


READING = [
    "export", "status", "topology --wanted", "explain a b", "apply -f - --dry-run", "network list",
    "network show web", "network delete web", "network update web --mtu 1400", "vnic list",
    "vnic create v1 --network web", "vnic show v1", "forward list", "group list", "lease list",
    "node list", "node drain cn-1", "public-ip list", "public-ip delete 192.0.2.50",
]  # fmt: skip


@pytest.mark.parametrize("line", READING)
def test_a_mistyped_registry_is_not_made(tmp_path: Path, line: str) -> None:
    """Only what may be the first command makes the file, and the agent."""
    wrong = tmp_path / "typo" / "registry.db"
    shell = Shell(f"memory:{uuid.uuid4()}")
    shell.url = f"sqlite://{wrong}"
    said = shell(line, 2, input="").output
    assert str(wrong) in said
    assert "correct the URL" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", ["network create web --subnet 10.1.0.0/24 --no-wait", "group create g", "apply -f -"]
)
def test_what_may_be_the_first_command_makes_the_registry(tmp_path: Path, line: str) -> None:
    path = tmp_path / "new" / "registry.db"
    shell = Shell(f"memory:{uuid.uuid4()}")
    shell.url = f"sqlite://{path}"
    text = yaml.safe_dump({"kind": "network", "name": "web", "subnet": "10.1.0.0/24"})
    shell(line, input=text)
    assert path.exists()
    assert "web" in shell("export").output or line.startswith("group")
