"""``snnet demo`` as people and programs use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from rich.text import Text

import snnet
from snnet.cli.app import snnet as command
from snnet.cli.signals import interruptible
from snnet.cli.tables import Marks, matrix_table
from snnet.lab import demo_scenario


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), env={"COLUMNS": "80"})


def tables_of(result: Result) -> list[str]:
    """The lines of its tables: the totals after them may be longer, and wrap."""
    return [line for line in result.stdout.splitlines() if "as expected" not in line]


def test_version() -> None:
    assert invoke("--version").output.strip() == f"snnet, version {snnet.__version__}"


def test_tables_go_to_stdout_and_progress_to_stderr() -> None:
    result = invoke("demo", "--backend", "fake")
    assert result.exit_code == 0
    assert "cnci-green" in result.stdout
    assert "1 blue-web-vm1       │      ✔  ·" in result.stdout
    assert "3 blue-web-vm2 (web) │   ✔  ✔     ✔" in result.stdout
    assert "(web): in a security group that lets TCP port 80 in, and no ping" in result.stdout
    assert "group web     2 guests       10.1.0.21:22          ·" in result.stdout
    assert result.stdout.rstrip().endswith("nothing left over")
    assert "16 guests, 480 pings, 56 connections all as expected in" in result.stdout
    assert "outbound NAT  8 guests       198.51.100.7:80       internet  " in result.stdout
    assert "outbound NAT  8 guests       [2001:db8:7::7]:80    internet  " in result.stdout
    assert "backend fake, tunnel gre over IPv4, firewall fake" in result.stderr
    assert "✔ 480 pings" in result.stderr
    assert "progress" not in result.stdout
    lines = tables_of(result)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]


def test_routed_mode_has_tables_of_its_own() -> None:
    result = invoke("demo", "--backend", "fake", "--mode", "routed")
    assert result.exit_code == 0
    assert "mode routed" in result.stderr
    assert "(web)" in result.stdout
    assert "outbound    16 guests  198.51.100.7:80     internet     guest's own" in result.stdout
    assert max(map(len, tables_of(result))) <= 80


@pytest.mark.parametrize("mode", ["gre_tunnel", "routed"])
def test_over_uplinks_of_ipv6_the_tables_fit_as_well(mode: str) -> None:
    result = invoke("demo", "--backend", "fake", "--uplinks", "ipv6", "--mode", mode)
    assert result.exit_code == 0
    assert "over IPv6" in result.stderr
    lines = tables_of(result)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]


def test_json_is_all_that_stdout_has() -> None:
    result = invoke("demo", "--backend", "fake", "--tunnel", "vxlan", "--json")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert {"backend", "tunnel", "guests", "leases", "matrix", "expected", "ok", "seconds"} <= set(
        data
    )
    assert (data["backend"], data["tunnel"], data["ok"]) == ("fake", "vxlan", True)
    (group,) = data["groups"]
    assert (group["name"], group["rules"][0]) == ("web", "in tcp 80 from anybody")
    members = [guest["name"] for guest in data["guests"] if guest["groups"]]
    assert members == ["blue-web-vm2"]
    assert not any(row.get("blue-web-vm2") for row in data["matrix"].values())
    assert data["matrix"]["blue-web-vm2"]["blue-web-vm1"]


def test_without_groups_it_says_so() -> None:
    result = invoke("demo", "--backend", "fake", "--firewall", "none")
    assert result.exit_code == 0
    why = "no security group, firewall none: firewall 'none' sets no rules"
    assert why in " ".join(result.stderr.split())
    assert "(web)" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--backend", "no-such"], 2, "no-such"),
        (["--tunnel", "ipip"], 2, "ipip"),
        (["--backend", "netlink", "--firewall", "fake"], 2, "does not work on backend"),
        (["--mode", "routed", "--firewall", "none"], 2, "needs a firewall"),
    ],
)
def test_errors_are_one_clear_line(arguments: list[str], code: int, said: str) -> None:
    result = invoke("demo", *arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_the_matrix_shows_what_is_not_as_expected() -> None:
    scenario = demo_scenario()
    expected = scenario.expected()
    matrix = {source: dict(row) for source, row in expected.items()}
    matrix["blue-web-vm1"]["green-web-vm1"] = frozenset({4, 6})
    matrix["blue-web-vm1"]["green-web-vm2"] = frozenset({6})
    matrix["blue-web-vm2"]["blue-web-ct2"] = frozenset({4})
    console = Console(width=80, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(matrix_table(scenario.guests, matrix, expected, Marks()))
    row = next(line for line in captured.get().splitlines() if "1 blue-web-vm1" in line)
    assert "\x1b[1;31m  ✔" in row
    assert "\x1b[1;31m  6" in row
    assert Text.from_ansi(row).plain.split("│")[2].split() == ["✔", "·", "6", *["·"] * 5]
    row = next(line for line in captured.get().splitlines() if "3 blue-web-vm2" in line)
    assert Text.from_ansi(row).plain.split("│")[1].split() == ["✔", "✔", "4", *["✔"] * 4]


def test_ascii_where_the_output_knows_no_more() -> None:
    result = CliRunner(charset="ascii").invoke(
        command, ["demo", "--backend", "fake"], env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0
    assert "y  y  y" in result.stdout
    assert result.stdout.isascii()


def test_without_click_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ImportError(name='click')")
    done = subprocess.run(
        [sys.executable, "-m", "snnet", "demo"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "snnet: the command line needs click: pip install 'snnet[cli]'\n"


def test_importing_snnet_needs_neither_click_nor_rich() -> None:
    code = "import snnet, sys; print(*{'click', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_without_a_signal_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_changes_nothing_even_at_the_very_end() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with interruptible() as event:
            os.kill(os.getpid(), signal.SIGTERM)
            assert event.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as event:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not event.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("number", "seen"),
    [
        (signal.SIGTERM, "hosts"),
        (signal.SIGINT, "VNICs"),
        (signal.SIGTERM, "DHCP"),
        (signal.SIGINT, "pings"),
    ],
)
def test_a_signal_ends_it_in_good_order(number: signal.Signals, seen: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "snnet", "demo", "--backend", "netlink", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        # As in a terminal; what runs in a shell's background inherits that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if seen in line:
                break
        process.send_signal(number)
        time.sleep(0.05)
        process.send_signal(number)  # impatience changes nothing
        stdout, stderr = process.communicate(timeout=60)
    if seen == "pings" and process.returncode == 0:
        return  # it was on its way out
    assert process.returncode == 1, stderr
    assert stdout == ""
    assert stderr.rstrip().endswith("snnet: interrupted; nothing left over")


@pytest.mark.kernel
@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
@pytest.mark.parametrize("mode", ["gre_tunnel", "routed"])
def test_all_backends_and_firewalls_print_the_same_tables(firewall: str, mode: str) -> None:
    fake, real = (
        invoke("demo", "--mode", mode, "--tunnel", "vxlan", *words).stdout.splitlines()
        for words in (("--backend", "fake"), ("--backend", "netlink", "--firewall", firewall))
    )
    assert fake[:-1] == real[:-1]
    assert "nothing left over" in real[-1]
