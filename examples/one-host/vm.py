#!/usr/bin/env python3
"""Run a VM on one VNIC or more, with QEMU: what the options after "--" say, plus its NICs.

    python3 vm.py v1 -- -m 1024 -drive file=debian.qcow2,if=virtio

As root, or as the user that the VNICs were created for (``snnet vnic create --owner``).  The
guest takes its addresses by DHCP.  QEMU replaces this program, so its exit code is this one's.
"""

import argparse
import os
import shlex
import subprocess
import sys


def nic(vnic: str, tenant: str) -> list[str]:
    """QEMU's arguments for a VNIC; the agent has to have made it."""
    command = ["snnet", "vnic", "qemu-args", vnic, "--tenant", tenant]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)  # snnet has said why
    return shlex.split(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("vnics", nargs="+", metavar="VNIC", help="a VNIC of role vm")
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--accel", default="kvm", help="kvm, or tcg: no KVM, ten times as slow")
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="the program")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    given = parser.parse_args(words[:end])
    nics = [word for vnic in given.vnics for word in nic(vnic, given.tenant)]
    os.execvp(
        given.qemu, [given.qemu, "-accel", given.accel, "-cpu", "max", *nics, *words[end + 1 :]]
    )


if __name__ == "__main__":
    main()
