"""A host that is switched off and boots: the registry's file is all that is left."""

from __future__ import annotations

import pytest

from .lan import HOST_IP, OUTSIDE_IP
from .machine import Machine

pytestmark = pytest.mark.kernel


def test_a_reboot_brings_everything_back(machine: Machine) -> None:
    """Networks, taps and veths with their names, DHCP, NAT, forwards, public addresses."""
    machine.start_agent()
    machine.snnet("network create web --subnet 10.1.0.0/24 --subnet fd00:1::/64")
    machine.snnet("vnic create v1 --network web")
    machine.container("c1")
    machine.snnet("forward create --network web --port 8080 --to c1 --to-port 80")
    links, objects = machine.links(), machine.json("status")["objects"]
    end = machine.json("vnic show c1")["peer_name"]  # now in the container

    machine.power_off()
    machine.boot()
    assert machine.links() == {"lo", "eth0"}
    assert machine.runtime_files() == set()
    assert machine.json("status")["objects"] == objects, "that is what the disk says"
    machine.start_agent()
    machine.until(lambda: machine.links() == {*links, end})
    machine.snnet("status --wait")
    assert machine.snnet("host verify") == "everything is as it should be\n"

    # Containers start after the host, as they always do.
    c1 = machine.namespace("c1")
    machine.snnet("vnic attach c1 --netns c1")
    assert machine.reaches(c1, "10.1.0.1")
    assert machine.reaches(c1, OUTSIDE_IP)
    machine.serve(c1, "10.1.0.3", 80)
    assert machine.ask(machine.outside, HOST_IP, 8080) == OUTSIDE_IP
