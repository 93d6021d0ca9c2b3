"""What a backend must do: the promises of ``snnet.contract`` about links and what is beside them.

``place`` says what a host is to the tests, ``real`` makes one of a network
namespace; ``nouns`` are the objects they use, ``steps`` what they do with a driver.
"""

from .place import Place
from .real import RealPlace
from .suite import BackendSuite

__all__ = ["BackendSuite", "Place", "RealPlace"]
