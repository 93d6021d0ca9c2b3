"""What holds for every call: looks write nothing, set-ups are all or nothing, one outcome."""

from __future__ import annotations

import copy
import errno
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any

import pytest

import snnet
from snnet.backends.fake.driver import FakeDriver
from snnet.contract import ApiError, Key, Operation, Plan, error_for
from snnet.node.call import Call, Draft
from snnet.node.claims import WHOLE_NODE, Claim
from snnet.node.deadline import NO_LIMIT
from snnet.node.drivers import Drivers
from tests.node.every_call import CASES, Case, Kind, call_classes, public_methods
from tests.node.world import FakeWorld, World
from tests.sample import turns

Perform = Callable[[Any, Operation], Any]


def named(*kinds: Kind, works: bool = False) -> pytest.MarkDecorator:
    """Parametrize with the cases of these kinds, or with all."""
    chosen = [
        case for case in CASES if (not kinds or case.kind in kinds) and (case.works or not works)
    ]
    return pytest.mark.parametrize("case", chosen, ids=str)


MANY = (".reconcile", ".create_vnics", ".init")
"""Methods that may make several calls."""

CHANGING = (Kind.SET_UP, Kind.TEAR_DOWN, Kind.REPORT)


def known(node: Any) -> object:
    """What the node knows, in an order that does not matter."""
    try:
        found = node.topology()
    except snnet.InvalidRequest:
        return None  # not ready, or closed
    return sorted(f"{name}={value}" for name, value in _parts(found))


def _parts(found: Any) -> Iterator[tuple[str, str]]:
    for name in found.__slots__:
        value = getattr(found, name)
        for one in value if isinstance(value, tuple) else [value]:
            yield name, repr(one)


def differences(node: Any) -> object:
    try:
        return sorted(node.verify())
    except snnet.InvalidRequest:
        return None


def state(world: FakeWorld, node: Any) -> dict[str, object]:
    """Everything that a call could change: kernel, records, memory, descriptors."""
    return {
        "host": world.text(),
        "records": copy.deepcopy(world.kernel.state.records),
        "memory": known(node),
        "differences": differences(node),
        "descriptors": descriptors(),
    }


class Recorder:
    """Notes what a listener hears."""

    def __init__(self, says: Callable[[str], None] = lambda hook: None) -> None:
        self.heard: list[tuple[str, Plan, Any]] = []
        self._says = says

    def before_apply(self, plan: Plan) -> None:
        self.heard.append(("before", plan, None))
        self._says("before")

    def applied(self, plan: Plan, events: Any) -> None:
        self.heard.append(("applied", plan, events))
        self._says("applied")

    def failed(self, plan: Plan, error: Any) -> None:
        self.heard.append(("failed", plan, error))
        self._says("failed")

    def check(self) -> None:
        """One question and one outcome for each plan; an outcome alone has events alone."""
        plans = [plan for hook, plan, _ in self.heard if hook == "before"]
        outcomes = [plan for hook, plan, _ in self.heard if hook != "before" and plan]
        assert sorted(map(id, plans)) == sorted(map(id, outcomes))
        for hook, plan, said in self.heard:
            if hook == "failed":
                assert getattr(snnet, type(said).__name__, None) is type(said), said
                assert isinstance(said, snnet.SnnetError)
            if not plan:
                assert hook == "applied"
                assert said


class Trouble:
    """Has one operation fail, by its number; the others work."""

    def __init__(self, at: int, error: Callable[[], BaseException], *, lost: bool) -> None:
        self.at = at
        self.count = 0
        self.hit = False
        self._error = error
        self._lost = lost

    def perform(self, perform: Perform, driver: Any, operation: Operation) -> Any:
        self.count += 1
        if self.count != self.at:
            return perform(driver, operation)
        self.hit = True
        if self._lost:
            for fd in perform(driver, operation) or ():
                os.close(fd)
        raise self._error()


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trouble]:
    """Make a :class:`Trouble` and have all fake drivers run into it, instead of the one before."""
    current: list[Trouble] = []
    perform: Any = FakeDriver.perform

    def troubled(driver: Any, operation: Operation) -> Any:
        if current:
            return current[0].perform(perform, driver, operation)
        return perform(driver, operation)

    def make(*args: Any, **options: Any) -> Trouble:
        current[:] = [Trouble(*args, **options)]
        return current[0]

    monkeypatch.setattr(FakeDriver, "perform", troubled)
    return make


def nothing(at: int = 0) -> tuple[Any, ...]:
    """Trouble that only counts."""
    return (at, RuntimeError)


# -- the table is whole ------------------------------------------------------------


def test_every_public_method_is_in_the_table() -> None:
    assert sorted({case.method for case in CASES}) == sorted(public_methods())


def test_every_call_is_run_and_plans_within_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls whose plans share an object, of whichever two cases, bar each other."""
    applied = record_claims(monkeypatch)
    for listening in (False, True):
        for case in CASES:
            world = FakeWorld("gre")
            node = case.prepare(world, listeners=[Recorder()] if listening else [])
            applied.world = str(case.prepare)
            case(node)
            world.close()
    assert {type(call) for call in applied.calls} == call_classes()
    touched: dict[tuple[str, Key], dict[Claim, str]] = {}
    for call, claim, draft, where in applied.done:
        assert draft.plan.operations, call.what
        assert claim != Claim(), call.what
        for operation in draft.plan:
            touched.setdefault((where, operation.noun.key), {})[claim] = call.what
    for (_, key), claims in touched.items():
        for (mine, one), (theirs, other) in combinations_with_replacement(claims.items(), 2):
            assert mine.bars(theirs), f"{one} and {other} share {key}"


class Applied:
    """The calls that were run, with the claim and the draft of each plan that was applied."""

    def __init__(self) -> None:
        self.calls: list[Call[Any, Any, Any, Any]] = []
        self.done: list[tuple[Call[Any, Any, Any, Any], Claim, Draft, str]] = []
        self.claims: dict[int, Claim] = {}
        self.drafts: dict[int, list[tuple[Call[Any, Any, Any, Any], Draft]]] = {}
        self.world = ""

    def apply(self, operations: Sequence[Operation]) -> None:
        for call, draft in self.drafts.get(id(operations), ()) if operations else ():
            claim = self.claims.get(id(call), WHOLE_NODE)
            covered = set().union(*(draft.scope.get(thing, set()) for thing in claim.alone))
            keys = {operation.noun.key for operation in operations}
            assert claim.everything or keys <= covered, f"{call.what}: {keys - covered}"
            self.done.append((call, claim, draft, self.world))


def record_claims(monkeypatch: pytest.MonkeyPatch) -> Applied:
    """Note the claims, the drafts and the plans of all calls from now on."""
    applied = Applied()

    def watch(cls: Any) -> None:
        claim, draft = cls.claim, cls.draft

        def claimed(call: Any, *args: Any) -> Claim:
            found: Claim = claim(call, *args)
            applied.claims[id(call)] = found
            return found

        def drafted(call: Any, *args: Any) -> Draft:
            found: Draft = draft(call, *args)
            applied.calls.append(call)
            applied.drafts.setdefault(id(found.plan.operations), []).append((call, found))
            return found

        monkeypatch.setattr(cls, "claim", claimed)
        monkeypatch.setattr(cls, "draft", drafted)

    for cls in call_classes():
        watch(cls)
    apply = Drivers.apply

    def carried_out(drivers: Any, operations: Any, outcome: Any, **options: Any) -> None:
        applied.apply(operations)
        apply(drivers, operations, outcome, **options)

    monkeypatch.setattr(Drivers, "apply", carried_out)
    return applied


# -- looking -----------------------------------------------------------------------


@named()
def test_a_look_and_a_preview_write_nothing(case: Case, trouble: Any) -> None:
    world = FakeWorld("gre")
    node = case.prepare(world)
    before, text = state(world, node), world.text()
    counting = trouble(*nothing(), lost=False)
    case(node)
    if case.kind is Kind.LOOK:
        assert counting.count == 0
        if not case.method.endswith(".close"):
            assert state(world, node) == before
    else:
        assert (world.text() != text or counting.count > 0) == case.works
    world.close()


@named()
def test_a_read_only_node_writes_nothing(case: Case, trouble: Any) -> None:
    world = FakeWorld("gre")
    case.prepare(world)
    watcher = case.prepare(world, read_only=True)
    before = state(world, watcher)
    counting = trouble(*nothing(), lost=False)
    learns = case.method.endswith((".init", ".rebuild_topology", ".close"))
    if case.kind is Kind.LOOK or learns:
        case(watcher)
    else:
        with pytest.raises(snnet.InvalidRequest, match="read-only"):
            case(watcher)
    assert counting.count == 0
    after = state(world, watcher)
    if learns:
        after |= {name: before[name] for name in ("memory", "differences")}
    assert after == before
    world.close()


# -- listeners ---------------------------------------------------------------------


@named()
def test_listeners_hear_one_outcome(case: Case) -> None:
    world, recorder = FakeWorld("gre"), Recorder()
    node = case.prepare(world)
    node.listeners.register(recorder)
    case(node)
    recorder.check()
    hooks = [hook for hook, *_ in recorder.heard]
    if case.works and case.kind is not Kind.LOOK:
        assert "applied" in hooks
        assert "failed" not in hooks
    else:
        assert "before" not in hooks
    if (
        "reconcile" not in case.method
        and "create_vnics" not in case.method
        and "init" not in str(case)
    ):
        assert len(hooks) <= 2
    world.close()


@named(*CHANGING, works=True)
def test_a_veto_leaves_nothing(case: Case, trouble: Any) -> None:
    def veto(hook: str) -> None:
        if hook == "before":
            raise snnet.Veto("no")

    world, recorder = FakeWorld("gre"), Recorder(veto)
    node = case.prepare(world)
    before = state(world, node)
    node.listeners.register(recorder)
    counting = trouble(*nothing(), lost=False)
    if case.kind is Kind.REPORT and ("reconcile" in case.method or "create_vnics" in case.method):
        errors = [item.error for item in items(case(node))]
        assert None not in errors
        assert any(isinstance(error, snnet.Veto) for error in errors)
    else:
        with pytest.raises(snnet.Veto, match="no"):
            case(node)
    assert counting.count == 0
    recorder.check()
    assert {hook for hook, *_ in recorder.heard} == {"before", "failed"}
    node.listeners.unregister(recorder)
    assert state(world, node) == before
    world.close()


def items(result: Any) -> list[Any]:
    found: list[Any] = getattr(result, "items", result)
    return [item for item in found if getattr(item, "action", "") != "kept"]


@named(*CHANGING, works=True)
def test_listeners_that_raise_change_no_outcome(case: Case) -> None:
    def oops(hook: str) -> None:
        if hook != "before":
            raise RuntimeError("oops")

    world, other = FakeWorld("gre"), FakeWorld("gre")
    node, like = case.prepare(world), case.prepare(other)
    node.listeners.register(recorder := Recorder(oops))
    case(node)
    case(like)
    recorder.check()
    node.listeners.unregister(recorder)
    assert world.text() == other.text()
    assert known(node) == known(like)


# -- failures ----------------------------------------------------------------------

Failure = tuple[Callable[[], BaseException], bool]
"""What an operation raises, and whether it took effect all the same."""

REFUSED: Failure = (lambda: error_for(errno.ENOMEM, "do it"), False)
OTHERS: tuple[Failure, ...] = (
    (lambda: error_for(errno.ENOBUFS, "hear the answer"), True),
    (lambda: RuntimeError("can't start new thread"), False),
    (lambda: RuntimeError("can't start new thread"), True),
    (KeyboardInterrupt, False),
    (KeyboardInterrupt, True),
)


def failures(case: Case) -> Iterator[tuple[int, Failure]]:
    """Each operation is refused, and fails in one of the other ways, which take turns."""
    for at in turns(1):
        yield at, REFUSED
        yield at, OTHERS[(at + CASES.index(case)) % len(OTHERS)]


def run(case: Case, node: Any, **options: Any) -> tuple[Any, BaseException | None]:
    """The result of the case, or what it raised."""
    try:
        return case(node, **options), None
    except (snnet.SnnetError, RuntimeError, KeyboardInterrupt) as error:
        return None, error


@named(Kind.SET_UP, works=True)
def test_a_set_up_is_all_or_nothing(case: Case, trouble: Any) -> None:
    clean = FakeWorld("gre")
    model = case.prepare(clean)
    close(case(model))
    for at, (error, lost) in failures(case):
        world, recorder = FakeWorld("gre"), Recorder()
        node = case.prepare(world)
        before = state(world, node)
        node.listeners.register(recorder)
        hurt = trouble(at, error, lost=lost)
        result, raised = run(case, node)
        close(result)
        if not hurt.hit:
            assert raised is None
            assert at > 1
            return
        recorder.check()
        node.listeners.unregister(recorder)
        if raised is None:  # a look showed that the removal had succeeded
            assert lost
        else:
            assert recorder.heard[-1][0] == "failed"
            if isinstance(error(), ApiError):
                assert isinstance(raised, ApiError)
            if isinstance(raised, ApiError):
                assert raised.state is snnet.State.ROLLED_BACK
            assert state(world, node) == before, f"operation {at}: {raised!r}"
        trouble(*nothing(), lost=False)
        close(case(node))
        assert world.text() == clean.text(), f"operation {at}: {raised!r}"
        assert known(node) == known(model)
        world.close()


def close(result: Any) -> None:
    """Close the descriptors that a call handed out."""
    for one in result if isinstance(result, list) else [result]:
        for fd in getattr(getattr(one, "vnic", None), "fds", ()):
            os.close(fd)


@named(Kind.TEAR_DOWN, Kind.REPORT, works=True)
def test_what_presses_on_is_finished_by_the_same_call(case: Case, trouble: Any) -> None:
    clean = FakeWorld("gre")
    model = case.prepare(clean)
    close(case(model))
    for at, (error, lost) in failures(case):
        world, recorder = FakeWorld("gre"), Recorder()
        node = case.prepare(world)
        node.listeners.register(recorder)
        hurt = trouble(at, error, lost=lost)
        result, raised = run(case, node)
        close(result)
        if not hurt.hit:
            assert raised is None
            assert at > 1
            return
        recorder.check()
        if isinstance(raised, snnet.Incomplete):
            left = raised.leftovers
            assert left
            assert node.drivers.find(left).keys() == {noun.key for noun in left}
        elif raised is not None:
            assert isinstance(raised, (KeyboardInterrupt, ApiError))
        trouble(*nothing(), lost=False)
        close(case(node))
        if case.method.endswith(".init"):  # which does nothing more once it came to its end
            node.rebuild_topology()
        assert world.text() == clean.text(), f"operation {at}: {raised!r}"
        assert known(node) == known(model), f"operation {at}: {raised!r}"
        assert node.verify() == model.verify()
        world.close()


# -- names -------------------------------------------------------------------------

INNER = {
    "follow": ("add_remote_subnet",),
    "init": ("rebuild_topology",),
    "reconcile": ("set_concentrator", "remove_concentrator"),
}
"""Methods whose errors may name a call that they make."""

ACTIONS = {"created", "updated", "removed", "kept", "failed"}


@named(*CHANGING, works=True)
@pytest.mark.parametrize("error", [REFUSED[0], KeyboardInterrupt])
def test_an_error_names_its_method(
    case: Case, error: Callable[[], BaseException], trouble: Any
) -> None:
    """Listeners and whoever calls a method learn from the error which one failed."""
    world, recorder = FakeWorld("gre"), Recorder()
    node = case.prepare(world)
    node.listeners.register(recorder)
    trouble(1, error, lost=False)
    result, raised = run(case, node)
    close(result)
    heard = [said for hook, _, said in recorder.heard if hook == "failed"]
    if isinstance(result, snnet.Reconciled):
        assert {item.action for item in result.items} <= ACTIONS
        assert all(isinstance(item.key, tuple) for item in result.items)
        assert result.failed == [item for item in result.items if item.action == "failed"]
    if isinstance(result, snnet.Report):
        assert all(isinstance(line, str) for line in (*result.healed, *result.orphans))
    if case.kind is Kind.REPORT and not isinstance(result, snnet.Report):
        heard += [item.error for item in items(result or []) if item.error is not None]
    if isinstance(raised, snnet.SnnetError):
        heard.append(raised)
    verb = case.method.partition(".")[2]
    for said in heard:
        names = "|".join((verb, *INNER.get(verb, ())))
        assert re.search(rf"\b({names})\b", str(said)), said


@named()
def test_a_cancelled_call_names_its_method(case: Case) -> None:
    if not case.takes("cancel"):
        return
    world, token = FakeWorld("gre"), threading.Event()
    node = case.prepare(world)
    before = state(world, node)
    token.set()
    with pytest.raises(snnet.Cancelled, match=f"^{case.method.partition('.')[2]}.* was cancelled"):
        case(node, cancel=token)
    assert state(world, node) == before
    world.close()


@named()
def test_a_call_that_waits_ends_at_its_time_limit(case: Case) -> None:
    if not case.takes("timeout") or case.method.endswith(".init"):
        return
    world = FakeWorld("gre")
    node = case.prepare(world)
    before = state(world, node)
    with node._ready().claims.hold(lambda _: WHOLE_NODE, NO_LIMIT):
        result, raised = run(case, node, timeout=0.01)
    errors = [raised] if raised else [item.error for item in items(result)]
    assert errors
    for error in errors:
        assert isinstance(error, snnet.Timeout)
        assert re.match(rf"{case.method.partition('.')[2]}\b.* was not done within", str(error))
    assert state(world, node) == before
    world.close()


@named(works=False)
def test_a_cancel_token_that_raises_leaves_nothing(case: Case) -> None:
    class Broken:
        def __init__(self, at: int) -> None:
            self.at = at

        def is_set(self) -> bool:
            self.at -= 1
            if self.at == 0:
                raise RuntimeError("broken token")
            return False

    if not case.takes("cancel"):
        return
    for at in turns(1):
        world = FakeWorld("gre")
        node = case.prepare(world)
        before, token = state(world, node), Broken(at)
        result, raised = run(case, node, cancel=token)
        close(result)
        if token.at > 0:
            assert raised is None
            assert at > 1
            return
        assert isinstance(raised, RuntimeError)
        if case.kind is Kind.SET_UP:
            assert state(world, node) == before, f"look {at}"
        close(case(node))
        world.close()


# -- on the kernel -----------------------------------------------------------------

SAMPLE = [
    case
    for case in CASES
    if str(case).startswith(
        (
            "ComputeNode.create_vnic-first",
            "ComputeNode.plan_create_vnic",
            "ComputeNode.reconcile-atomic-bridged",
            "Cnci.add_remote_subnet",
            "Cnci.plan_add_remote_subnet",
            "Cnci.add_public_ip",
            "Cnci.update_neighbors-other",
        )
    )
]
"""Cases that are run on the real kernel, too."""


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_a_veto_and_a_preview_leave_a_real_host_as_it_was(case: Case, real: World) -> None:
    def veto(hook: str) -> None:
        if hook == "before":
            raise snnet.Veto("no")

    node = case.prepare(real)
    before = (real.text(), known(node), differences(node))
    node.listeners.register(recorder := Recorder(veto))
    if case.kind is Kind.LOOK:
        case(node)
        assert recorder.heard == []
    elif case.works:
        with pytest.raises(snnet.Veto):
            case(node)
        recorder.check()
    assert (real.text(), known(node), differences(node)) == before
    node.listeners.unregister(recorder)
    clean_up(node)


@pytest.mark.parametrize(
    "case", [case for case in SAMPLE if case.kind is Kind.SET_UP and case.works], ids=str
)
def test_a_set_up_on_a_real_host_is_all_or_nothing(
    case: Case, real: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second piece of the drivers' work is done, and then raises KeyboardInterrupt."""
    for at in turns(1, 2):
        node = case.prepare(real)
        before = (real.text(), known(node), differences(node))
        done = [0]

        def interrupted(work: Any, at: int = at, done: list[int] = done) -> Any:
            def perform(operations: Any) -> Any:
                result = work(operations)
                done[0] += 1
                if done[0] == at:
                    for fd in result or ():
                        os.close(fd)
                    raise KeyboardInterrupt
                return result

            return perform

        for driver in node.drivers.all:
            for name in ("perform", "perform_all"):
                monkeypatch.setattr(driver, name, interrupted(getattr(driver, name)))
        _, raised = run(case, node)
        monkeypatch.undo()
        if done[0] < at:
            assert raised is None
            clean_up(node)
            return
        assert isinstance(raised, KeyboardInterrupt)
        assert (real.text(), known(node), differences(node)) == before, at
        node.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def clean_up(node: Any) -> None:
    """Stop what would outlive the test."""
    if isinstance(node, snnet.Cnci):
        node.shutdown()
