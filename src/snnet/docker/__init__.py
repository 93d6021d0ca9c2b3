"""The Docker plugin: containers of a Docker daemon on tenants' networks.

It answers the two protocols of a libnetwork *remote network driver* and *remote IPAM
driver*, and maps what Docker calls networks and endpoints onto subnets and VNICs of a
:class:`~snnet.ComputeNode` beside it.  Docker moves the container's end of the veth into
the container; nothing here ever calls Docker.

============== ===============================================================
``plugin``      :class:`DockerPlugin`: what its owner starts and stops
``server``      the HTTP server in its thread, on a Unix socket or TLS
``app``         requests in, answers out: bodies, errors, waiting
``messages``    what Docker sends, checked
``network``     the network driver: networks
``endpoints``   their endpoints, and the VNICs that they are
``ipam``        the IPAM driver: pools and addresses
``pools``       which address is whose, and which pool which network's
``options``     what people give with ``docker network create``
``book``        what both have promised, kept in a store (:mod:`snnet.stores`)
============== ===============================================================

HTTP and validation come with the extra ``docker``.
"""

from .plugin import DockerPlugin
from .server import Tls

__all__ = ["DockerPlugin", "Tls"]
