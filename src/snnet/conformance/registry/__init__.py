"""The tests of registries: the promises of :class:`snnet.contract.Registry`.

``place`` says where a registry is and how it is opened.
"""

from .place import RegistryPlace
from .suite import RegistrySuite

__all__ = ["RegistryPlace", "RegistrySuite"]
