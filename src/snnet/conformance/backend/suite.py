"""All tests of a backend in one class."""

from __future__ import annotations

from .atoms import AtomTests
from .batches import BatchTests
from .changes import ChangeTests
from .foreign import ForeignTests
from .life import LifeTests
from .links import BridgeTests, MacvtapTests, TapTests, VethTests
from .lookups import LookUpTests
from .mesh import MeshTests
from .names import NameTests
from .namespaces import NamespaceTests
from .network import NetworkTests, PathTests, SysctlTests
from .policies import PolicyTests
from .roundtrip import RoundTripTests
from .shaping import ShapingTests
from .tunnels import TunnelTests


class BackendSuite(
    RoundTripTests,
    ChangeTests,
    NameTests,
    AtomTests,
    BatchTests,
    LookUpTests,
    ForeignTests,
    BridgeTests,
    VethTests,
    MacvtapTests,
    TapTests,
    TunnelTests,
    MeshTests,
    NamespaceTests,
    NetworkTests,
    PathTests,
    PolicyTests,
    ShapingTests,
    SysctlTests,
    LifeTests,
):
    """Subclass it and give it a fixture ``place``: a new :class:`~snnet.conformance.Place` a test.

    A noun for which ``driver.missing()`` gives a reason is a declared gap.  Its tests end
    as expected failures, or as failures if the noun can be added after all.
    """
