"""All tests of a firewall driver in one class."""

from __future__ import annotations

from .antispoof import AntiSpoofTests
from .batches import BatchTests
from .both import BothFamiliesTests
from .bridges import BridgeTests
from .discovery import DiscoveryTests
from .exits import ExitTests
from .flows import FlowTests
from .forwards import ForwardTests
from .groups import GroupTests
from .identity import IdentityTests
from .isolation import IsolationTests
from .neighbours import NeighbourTests
from .protected import ProtectedTests
from .publicips import PublicIpTests
from .routed_groups import RoutedGroupTests
from .tunnels import TunnelTests
from .untracked import UntrackedTests
from .wrappers import WrapperTests
from .zones import ZoneTests


class FirewallSuite(
    IdentityTests,
    BatchTests,
    NeighbourTests,
    ZoneTests,
    ProtectedTests,
    BridgeTests,
    UntrackedTests,
    TunnelTests,
    IsolationTests,
    AntiSpoofTests,
    DiscoveryTests,
    WrapperTests,
    ExitTests,
    ForwardTests,
    PublicIpTests,
    BothFamiliesTests,
    FlowTests,
    GroupTests,
    RoutedGroupTests,
):
    """Subclass it and give it a fixture ``rig`` of any scope: a :class:`~snnet.conformance.Rig`.

    A noun for which ``driver.missing()`` gives a reason is a declared gap.  Its tests end
    as expected failures, or as failures if the noun can be added after all.
    """
