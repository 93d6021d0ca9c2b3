"""The tests of backends: what ``snnet.contract`` promises about links, addresses and the rest.

``place`` defines the host that the tests need; ``real`` makes one of a network
namespace.  ``nouns`` are the objects that the tests use, ``steps`` what they do with a
driver, ``mistakes`` the operations that must be refused.
"""

from .place import Place
from .real import RealPlace
from .suite import BackendSuite

__all__ = ["BackendSuite", "Place", "RealPlace"]
