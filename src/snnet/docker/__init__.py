"""The Docker plugin: containers of a Docker daemon on tenants' networks.

The plugin implements the protocols of a libnetwork *remote network driver* and a *remote
IPAM driver*.  It maps Docker's networks and endpoints to subnets and VNICs of a
:class:`~snnet.ComputeNode` in the same process.  Docker moves the container's end of the
veth pair into the container.  The plugin never calls Docker.

============== ===============================================================
``plugin``      :class:`DockerPlugin`: start, stop and settings
``server``      the HTTP server in its own thread, on a Unix socket or on TLS
``gate``        limits of connections and requests
``app``         HTTP requests and responses: bodies, errors, concurrency
``messages``    Docker's requests, validated
``network``     the network driver: networks
``endpoints``   the network driver: endpoints and their VNICs
``ipam``        the IPAM driver: pools and addresses
``pools``       which pool belongs to which network, and who holds an address
``options``     options of ``docker network create``
``vnics``       VNICs and networks of a compute node on its own
``in_cluster``  VNICs and networks of a cluster, which an agent carries out
``state``       what both drivers must remember, as documents of a registry
``intents``     what these documents mean for a cluster, written in the same commits
``migration``   takes over the database ``snnet.db`` of earlier versions
============== ===============================================================

The extra ``docker`` installs the libraries for HTTP and validation.
"""

from .plugin import DockerPlugin
from .server import Tls

__all__ = ["DockerPlugin", "Tls"]
