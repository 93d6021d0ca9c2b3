"""All tests of registries in one class."""

from __future__ import annotations

from .commits import Commits
from .documents import Documents
from .processes import Processes
from .sessions import Sessions
from .watches import Watches


class RegistrySuite(Documents, Commits, Watches, Sessions, Processes):
    """Subclass it and give it a fixture ``place``::

        class TestMine(RegistrySuite):
            @pytest.fixture
            def place(self, tmp_path):
                opener = functools.partial(MyRegistry, f"//{tmp_path}/mine")
                return RegistryPlace(opener, lambda registry, revision: registry.compact(revision))

    Each test starts with an empty registry.  Tests that need several processes are skipped
    where the place says ``processes=False``.
    """
