"""What every driver must do, as tests that its author inherits.

A third party's test file is an import and a fixture::

    from snnet.conformance import FirewallSuite, RealRig

    class TestMine(FirewallSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def rig(cls):
            with RealRig(MyFirewall) as rig:
                yield rig

Each test's docstring is the promise it checks.  A rig is where the tests run:
``RealRig`` makes network namespaces (it needs root), another one may stand on
anything that carries packets.

Here live the rigs and the suites; they know the contract and how to make
namespaces, and no driver.  pytest is imported with this package.
"""

import pytest

# The tests are in modules that pytest does not collect, so it has to be told
# that their assertions are to be explained.
pytest.register_assert_rewrite("snnet.conformance.firewall")

from .firewall import FirewallSuite  # noqa: E402
from .real import RealRig  # noqa: E402
from .rig import Answer, Conversation, Rig  # noqa: E402

__all__ = ["Answer", "Conversation", "FirewallSuite", "RealRig", "Rig"]
