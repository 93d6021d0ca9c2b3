#!/usr/bin/env python3
"""A network and VNICs from a program: ``snnet`` commands as calls.

    python3 program.py

Like the commands it writes to the registry, and the host's agent does the rest.  Objects that
are there already, in the same way, are no error: the program may run again.
"""

import os

import snnet

REGISTRY = os.environ.get("SNNET_REGISTRY", "sqlite:///var/lib/snnet/registry.db")


def main() -> None:
    with snnet.Cluster(REGISTRY) as cluster:
        cluster.create_network("app", subnet="10.2.0.0/24")
        for name in ("db", "api"):
            cluster.create_vnic(name, network="app", role="container")
        cluster.create_forward(network="app", protocol="tcp", port=8443, to="api", to_port=443)
        for name in ("db", "api"):
            vnic = cluster.wait_vnic("default", name, timeout=30)
            addresses = ", ".join(str(ip) for ip in vnic.ips)
            print(f"{name}: {vnic.state}, {addresses}, link {vnic.link_name}")


if __name__ == "__main__":
    main()
