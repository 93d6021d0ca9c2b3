"""The command line: whole processes, compared with Python that does nothing, in the same run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import snnet

from .timing import Result, median, seconds

RUNS, VNICS = 9, 1000
SNNET = str(Path(sys.executable).with_name("snnet"))


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="snnet-") as folder:
        registry = f"sqlite://{folder}/registry.db"
        with snnet.Cluster(registry) as cluster:
            network = {"kind": "network", "name": "web", "subnet": "10.1.0.0/20"}
            vnics = [
                {"kind": "vnic", "name": f"v{number}", "network": "web"} for number in range(VNICS)
            ]
            cluster.apply([network, *vnics])
        environment = {**os.environ, "SNNET_REGISTRY": registry}
        # As installed: the second run of a program is faster for what the first one compiled.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = {
            "bare": [sys.executable, "-c", ""],
            "snnet --help": [SNNET, "--help"],
            f"snnet vnic list, of {VNICS:,}": [SNNET, "vnic", "list"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):  # in turn: the speed of a machine changes
            for name, command in commands.items():
                times[name].append(seconds(lambda command=command: _call(command, environment)))  # type: ignore[misc]
    bare = median(times.pop("bare"))
    yield Result("cli: bare Python", bare * 1000, "ms")
    for (name, found), target in zip(times.items(), (6.0, 20.0), strict=True):
        yield Result(f"cli: {name} / bare Python", median(found) / bare, "times", target)


def _call(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
