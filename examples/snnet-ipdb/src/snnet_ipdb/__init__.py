"""A backend for snnet that uses IPDB, in a separate distribution.

``backend`` is the driver; ``database`` opens IPDB in the host's namespace and makes sure
that it is up to date when it is read; ``records`` converts IPDB's records to nouns;
``requests`` converts nouns to requests for its socket; ``taps`` creates taps, the one
kind of link that needs no request.

It imports only the contract of snnet.
"""

from .backend import IpdbBackend

__all__ = ["IpdbBackend"]
