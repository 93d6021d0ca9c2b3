"""``python -m tests.docker.record``: writes down what a real daemon says to the plugin.

Into ``recorded.json`` beside this file, for :mod:`tests.docker.test_recorded`.  Needs
root and docker.io.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from .daemons import IMAGE, data_centre, options

RECORDED = Path(__file__).with_name("recorded.json")


def main() -> None:
    with data_centre(Path(tempfile.mkdtemp(prefix="snnet-docker-"))) as centre:
        machine = centre.add("a")
        machine.docker("network", "create", *options(), "--aux-address", "dns=10.1.0.2", "web")
        second = [word.replace("10.1.", "10.2.") for word in options("t2", 8)]
        machine.docker("network", "create", *second, "--ip-range", "10.2.0.64/26", "x")
        machine.run("one")
        machine.run("two", "--ip", "10.1.0.9", "--mac-address", "02:aa:bb:cc:dd:ee")
        machine.run("other", network="x")
        machine.docker("network", "connect", "--alias", "db", "x", "one")
        machine.refused("run", "--net", "web", "-p", "80:80", IMAGE, "true")
        machine.refused("run", "--net", "web", "--ip", "10.1.0.9", IMAGE, "true")
        machine.refused("network", "create", "-d", "snnet", "--ipam-driver", "snnet", "y")
        machine.docker("restart", "-t", "0", "two")
        machine.docker("network", "disconnect", "x", "one")
        machine.docker("rm", "-f", *machine.docker("ps", "-aq").split())
        machine.docker("network", "rm", "web", "x")
        said = ",\n".join(json.dumps(one) for one in machine.wire.said)
        said = said.replace(str(machine.folder / "exec"), "/var/run/docker")
    RECORDED.write_text(f"[\n{said}\n]\n")


if __name__ == "__main__":
    main()
