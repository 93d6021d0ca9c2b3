"""A backend for snnet that stands on IPDB, in a distribution of its own.

``backend`` is the driver; ``database`` opens IPDB in the host's namespace and keeps
reading from it truthful; ``records`` turns what IPDB knows into nouns; ``requests``
turns nouns into what its socket is asked; ``taps`` makes the one kind of link that
cannot be asked for.

Of snnet it imports the contract alone.
"""

from .backend import IpdbBackend

__all__ = ["IpdbBackend"]
