"""The pytest plugin, as the suites of people who use snnet see it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.conftest import ip

pytest_plugins = ["pytester"]

PLUGIN = Path(__file__).parents[1] / "src" / "pytest_snnet.py"

CREATE = """
    import snnet

    def create(kernel):
        config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
        with snnet.ComputeNode("cn-1", config, backend=kernel, firewall="fake") as node:
            node.init()
            return node.create_vnic(snnet.VnicConfig(
                tenant_id="t1", subnet_id="s1", vnic_id="v1", instance_id="i1",
                concentrator_id="cnci-1", concentrator_ip="192.0.2.10",
                subnet="10.1.0.0/24", subnet_key=7, ip="10.1.0.9"))
"""


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    """Run a test file as somebody who has snnet installed."""
    pytester.makepyfile(source)
    loaded = {found.value for found in entry_points(group="pytest11")}
    plugin = () if "pytest_snnet" in loaded else ("-p", "pytest_snnet")
    return pytester.runpytest_inprocess(*plugin, *options)


def test_a_kernel_for_a_node(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        CREATE
        + """
    def test_it(snnet_kernel):
        assert "address 192.0.2.11/24 dev eth0" in snnet_kernel.to_text()
        made = create(snnet_kernel)
        assert f"tap {made.vnic.link_name}" in snnet_kernel.to_text()

    def test_another_one_is_new(snnet_kernel):
        assert "tap" not in snnet_kernel.to_text()
""",
    )
    result.assert_outcomes(passed=2)


def test_a_fabric(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    def test_it(snnet_fabric):
        for number in (11, 12):
            snnet_fabric.add_host(f"cn-{number}", f"192.0.2.{number}/24")
        assert list(snnet_fabric.hosts) == ["cn-11", "cn-12"]
""",
    )
    result.assert_outcomes(passed=1)


def test_kernels_compare_as_text(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    import snnet

    def test_kernels(snnet_kernel):
        other = snnet.FakeKernel()
        other.add_uplink("eth1", None)
        assert snnet_kernel == other

    def test_texts(snnet_kernel):
        wanted = snnet_kernel.to_text()
        snnet_kernel.add_uplink("eth1", None)
        assert snnet_kernel.to_text() == wanted

    def test_equal_texts():
        assert snnet.FakeKernel() == snnet.FakeKernel()

    def test_other_texts():
        assert "a" == "b"
""",
    )
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "E *assert the state of one fake kernel == that of another",
            "E *- is wanted (right) but missing, + is there (left) but not wanted:",
            "E *- physical eth1 *",
            "E *+ physical eth0 *",
            "E *+ *address 192.0.2.11/24 dev eth0",
            "E *  loopback lo *",
        ]
    )
    result.stdout.fnmatch_lines(
        ["*test_texts*", "E *+ physical eth1 *", "*test_equal_texts*", "E *compare .to_text()*"]
    )
    result.stdout.fnmatch_lines(["E *AssertionError: assert 'a' == 'b'"])


def test_a_failure_shows_the_state(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        CREATE
        + """
    import pytest

    @pytest.fixture
    def mine():
        kernel = snnet.FakeKernel("mine")
        kernel.add_uplink("eth7", None)
        return kernel

    def test_kernel(snnet_kernel):
        create(snnet_kernel)
        assert False

    def test_fabric(snnet_fabric):
        snnet_fabric.add_host("cn-1", "192.0.2.11/24")
        assert False

    def test_mine(mine):
        assert False

    def test_that_passes(snnet_kernel):
        pass

    def test_none():
        assert False
""",
    )
    result.assert_outcomes(failed=4, passed=1)
    result.stdout.fnmatch_lines(
        ["*snnet state: snnet_kernel*", "physical eth0 *", "gretap *", 'tap * alias "*v=v1*']
    )
    result.stdout.fnmatch_lines(["*snnet state: snnet_fabric, host cn-1*", "physical eth0 *"])
    result.stdout.fnmatch_lines(["*snnet state: mine*", "*physical eth7 *"])
    assert result.stdout.str().count("snnet state:") == 3


def test_without_root_a_namespace_is_skipped(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = run(pytester, "def test_it(snnet_netns): pass", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*snnet_netns creates a network namespace: run as root"])


@pytest.mark.kernel
def test_a_namespace_is_there_and_gone_afterwards(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    import os
    import pathlib
    import subprocess

    def test_it(snnet_netns):
        words = subprocess.run(["ip", "-n", snnet_netns, "link"], capture_output=True, text=True)
        assert ",UP," in words.stdout
        assert words.stdout.count("mtu") == 1
        subprocess.run(["ip", "-n", snnet_netns, "link", "add", "d0", "type", "veth"], check=True)
        process = subprocess.Popen(["ip", "netns", "exec", snnet_netns, "sleep", "60"])
        while "sleep" not in pathlib.Path(f"/proc/{process.pid}/comm").read_text():
            pass
        pathlib.Path("pid").write_text(str(process.pid))
        pathlib.Path("name").write_text(snnet_netns)
        process.returncode = 0      # nobody waits for it

    def test_it_has_ended():
        pid = int(pathlib.Path("pid").read_text())
        assert os.waitpid(pid, 0) == (pid, 9)
""",
    )
    result.assert_outcomes(passed=2)
    names = [line.split()[0] for line in ip("netns", "list").splitlines()]
    assert (pytester.path / "name").read_text() not in names


def test_who_does_not_use_it_does_not_import_snnet(tmp_path: Path) -> None:
    """Importing snnet would cost every run of everybody a tenth of a second."""
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_it():\n    assert 'pytest_snnet' in sys.modules\n"
        "    assert not [name for name in sys.modules if name.split('.')[0] == 'snnet']\n"
        "def test_failing(): assert 'a' == 'b'\n"
    )
    others = ("cacheprovider", "hypothesispytest", "xdist", "pytest_cov", "anyio")
    argv = [sys.executable, "-m", "pytest", "-q", ".", *(f"-pno:{name}" for name in others)]
    if "pytest_snnet" not in {found.value for found in entry_points(group="pytest11")}:
        argv += ["-p", "pytest_snnet"]
    env = {**os.environ, "PYTHONPATH": str(PLUGIN.parent)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "test_failing - AssertionError" in done.stdout
