"""Foreign rules on the same host."""

from __future__ import annotations

from snnet.conformance.endpoints import A1, C1, OUT
from snnet.conformance.rig import Rig

from .base import FirewallTests, add, exit_by, forward, passes, remove_all, stopped, tenants


class NeighbourTests(FirewallTests):
    def test_foreign_rules_stay_as_they_are(self, rig: Rig) -> None:
        """Adding and removing our rules never changes foreign ones."""
        with rig.foreign_rules() as text:
            before = text()
            add(rig, *tenants(rig), *exit_by(rig), forward(rig))
            assert text() == before
            remove_all(rig)
            assert text() == before

    def test_rules_work_beside_foreign_rules(self, rig: Rig) -> None:
        """Our rules hold where others have rules too."""
        with rig.foreign_rules():
            add(rig, *tenants(rig), *exit_by(rig))
            assert passes(rig.ping, A1, OUT.ip)
            assert stopped(rig.ping, A1, C1.ip)

    def test_links_without_rules_are_left_alone(self, rig: Rig) -> None:
        """Links without a rule are left alone."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, OUT, OUT.gateway)
        remove_all(rig)
        assert passes(rig.ping, A1, C1.ip)
