"""Short words for scheduling stories."""

from collections.abc import Iterable

from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.machine import Machine
from builder.schedule.operation import OperationView, Stage
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.reasons import ReasonCode
from builder.schedule.resources import Amounts
from builder.schedule.spec import ActionKey, ActionSpec, Client, Outcome

LINUX = (("ISA", "x86-64"), ("OSFamily", "linux"))
GPU = (*LINUX, ("gpu", "1"))
POOL = Offer.of("default", LINUX)
OK = Outcome(b"ok", succeeded=True)
FAILED = Outcome(b"exit 1", succeeded=False)
BROKEN = Outcome(b"", succeeded=False, infrastructure_failure=True, message="disk is full")


def key(name: str) -> ActionKey:
    return ActionKey("", "sha256", name, 1)


def spec(name: str, **fields: object) -> ActionSpec:
    user, invocation = str(fields.pop("user", "")), str(fields.pop("invocation", ""))
    own = {"client": Client(user=user, invocation=invocation)}
    return ActionSpec(key(name), **{"properties": LINUX, "payload": name.encode(), **own, **fields})


class Story:
    """A machine and its clock. Effects are told in one line each."""

    def __init__(self, policy: Policy | None = None, pools: Iterable[Offer] = (POOL,)) -> None:
        self.machine = Machine(policy, pools)
        self.now = 0.0

    def send(self, event: events.Event) -> list[str]:
        made = [told(effect) for effect in self.machine.handle(event, self.now)]
        self.machine.check()
        return made

    def at(self, now: float) -> list[str]:
        self.now = now
        return self.send(events.TimePassed())

    def submit(self, operation: str, action: str | ActionSpec = "", **fields: object) -> list[str]:
        wanted = action if isinstance(action, ActionSpec) else spec(action or operation, **fields)
        return self.send(events.ActionSubmitted(operation, wanted))

    def connect(
        self,
        worker: str,
        slots: int = 1,
        running: tuple[str, ...] = (),
        session: str = "",
        properties: tuple[tuple[str, str], ...] = LINUX,
        identity: str = "",
        capacity: Amounts = (),
        host: str = "",
    ) -> list[str]:
        identity = identity or f"host of {worker}"
        info = WorkerInfo(
            worker, slots, properties, identity=identity, capacity=capacity, host=host
        )
        return self.send(events.WorkerConnected(session or worker, info, running))

    def finish(self, session: str, lease: str, outcome: Outcome = OK) -> list[str]:
        return self.send(events.LeaseFinished(session, lease, outcome))

    def beat(self, session: str, *running: str, programs: tuple[str, ...] = ()) -> list[str]:
        return self.send(events.HeartbeatReceived(session, running, programs=programs))

    def drain_queue(self, session: str, cost_s: float = 0.0) -> list[str]:
        """Finish what runs on a worker, again and again; the tasks in their order."""
        order = []
        while running := list(self.machine._books.fleet.sessions[session].leases):
            order.append(running[0].rpartition("/")[0])
            self.now += cost_s
            self.finish(session, running[0], FAILED)
        return order

    def reason(self, operation: str) -> tuple[ReasonCode, str]:
        view = self.machine.operation(operation)
        assert view is not None
        return view.reason.code, view.reason.sentence

    def stage(self, operation: str) -> Stage:
        view = self.machine.operation(operation)
        assert view is not None
        return view.stage


def told(effect: effects.Effect) -> str:
    match effect:
        case OperationView() as view:
            if view.ending is not None:
                what = view.ending.response.decode() or view.ending.code.name
                return f"{view.name} ends: {what}"
            worker = f" on {view.worker}" if view.worker else ""
            return f"{view.name} {view.stage.name}{worker}: {view.reason.code.value}"
        case effects.RefuseOperation(operation, code, reason):
            return f"{operation} refused: {code.name} {reason.code.value}"
        case effects.GrantLease(session, lease):
            return f"{session} gets {lease}"
        case effects.CancelLease(session, lease):
            return f"{session} stops {lease}"
        case effects.RecallLease(session, lease):
            return f"{session} is asked for {lease}"
        case effects.IntroducePeers(session, victims):
            known = (f"{one.worker}: {' '.join(one.leases)}" for one in victims)
            return f"{session} may ask {', '.join(known)}"
        case effects.AcknowledgeLease(session, lease):
            return f"{session} may forget {lease}"
        case effects.WelcomeWorker(session, _, unknown):
            return f"{session} welcome" + "".join(f", not {lease}" for lease in unknown)
        case effects.RefuseWorker(session):
            return f"{session} refused"
        case effects.CloseSession(session):
            return f"{session} closed"
        case effects.DrainWorker(session, grace_s):
            return f"{session} drains within {grace_s:g}"
        case effects.KeepResult(task):
            return f"{task} is kept"
        case effects.Remember(entry):
            return f"{entry.operation} is remembered"
        case effects.Forget(operation):
            return f"{operation} is forgotten"
        case effects.Explain(subject, reason):
            return f"{subject}: {reason.code.value}"
