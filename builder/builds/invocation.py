"""One invocation of a build tool, as its events tell it.

    started -> pattern, configured ... -> completed, test results, failures ... -> finished, metrics

Every event adds what is new; none is needed, and their order does not matter, because a stream
may be taken up in its middle. Lists and texts are bounded; what is beyond is only counted.
Source: Bazel's Build Event Protocol.
"""

from dataclasses import dataclass, field

from builder.reapi.pb import build_event_stream_pb2 as bep
from builder.reapi.times import Time, bounded, nanoseconds

MOST_TARGETS = 1000
MOST_TESTS = 1000
MOST_FAILURES = 100
MOST_PATTERNS = 50
LONGEST = 300  # characters of a text
PASSED = "passed"


@dataclass(frozen=True, slots=True)
class TestAttempt:
    """One run of a test; `status` is Bazel's in lower case: passed, failed, timeout ..."""

    __test__ = False

    label: str
    run: int
    shard: int
    attempt: int
    status: str
    duration_s: float
    cached: bool


@dataclass(frozen=True, slots=True)
class ActionFailure:
    label: str
    kind: str
    output: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """At the end; `ways` says how many actions went each way (remote, remote cache hit ...)."""

    actions: int = 0
    executed: int = 0
    targets: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    ways: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Invocation:
    """`targets` by label: configured, built, failed. Times are nanoseconds since 1970; 0: none."""

    id: str
    build_id: str = ""
    project: str = ""
    heard_ns: int = 0  # when the first event came
    started_ns: int = 0
    finished_ns: int = 0
    command: str = ""
    tool_version: str = ""
    workspace: str = ""
    patterns: list[str] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    tests: dict[tuple[str, int, int, int], TestAttempt] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)  # of tests, over all attempts
    failures: list[ActionFailure] = field(default_factory=list)
    aborted: str = ""
    exit_name: str = ""
    exit_code: int | None = None
    metrics: Metrics | None = None
    ended: bool = False  # the stream has
    left_out: int = 0  # targets, tests and failures beyond the bounds

    @property
    def state(self) -> str:
        """running, succeeded, failed; interrupted: it ended without saying how."""
        if self.exit_code is None:
            return "interrupted" if self.ended else "running"
        return "succeeded" if self.exit_code == 0 else "failed"

    def take(self, event: bep.BuildEvent) -> None:
        """Add what an event says; one of another kind says nothing here."""
        match event.WhichOneof("payload"):
            case "started":
                self._started(event)
            case "configured":
                self._target(event.id.target_configured.label, "configured")
                self._kind(event)
            case "completed":
                state = "built" if event.completed.success else "failed"
                self._target(event.id.target_completed.label, state)
            case "action":
                self._action(event)
            case "test_result":
                self._test(event)
            case "test_summary":
                self._verdict(event)
            case "aborted":
                self.aborted = self.aborted or _text(event.aborted.description)
                self._target(event.id.target_completed.label, "failed")
            case "finished":
                self._finished(event.finished)
            case "build_metrics":
                self.metrics = _metrics(event.build_metrics)

    def _started(self, event: bep.BuildEvent) -> None:
        started = event.started
        self.started_ns = _when(started.start_time, started.start_time_millis)
        self.command = _text(started.command)
        self.tool_version = _text(started.build_tool_version)
        self.workspace = _text(started.workspace_directory)
        for child in event.children:
            for pattern in child.pattern.pattern:
                if len(self.patterns) < MOST_PATTERNS:
                    self.patterns.append(_text(pattern))

    def _target(self, label: str, state: str) -> None:
        label = _text(label)
        if not label or (state == "configured" and label in self.targets):
            return
        if label in self.targets or len(self.targets) < MOST_TARGETS:
            self.targets[label] = state
        else:
            self.left_out += 1

    def _kind(self, event: bep.BuildEvent) -> None:
        label = _text(event.id.target_configured.label)
        if label in self.targets:
            self.kinds[label] = _text(event.configured.target_kind)

    def _action(self, event: bep.BuildEvent) -> None:
        action, about = event.action, event.id.action_completed
        if action.success:
            return
        if len(self.failures) == MOST_FAILURES:
            self.left_out += 1
            return
        label, output = _text(about.label or action.label), _text(about.primary_output)
        failure = ActionFailure(label, _text(action.type), output, action.exit_code)
        self.failures.append(failure)

    def _test(self, event: bep.BuildEvent) -> None:
        about, result = event.id.test_result, event.test_result
        key = (_text(about.label), about.run, about.shard, about.attempt)
        if key not in self.tests and len(self.tests) == MOST_TESTS:
            self.left_out += 1
            return
        took_ns = nanoseconds(result.test_attempt_duration)
        took_s = took_ns / 1e9 or result.test_attempt_duration_millis / 1e3
        cached = result.cached_locally or result.execution_info.cached_remotely
        self.tests[key] = TestAttempt(*key, _status(result.status), took_s, cached)

    def _verdict(self, event: bep.BuildEvent) -> None:
        label = _text(event.id.test_summary.label)
        if label in self.verdicts or len(self.verdicts) < MOST_TESTS:
            self.verdicts[label] = _status(event.test_summary.overall_status)
        else:
            self.left_out += 1

    def _finished(self, finished: bep.BuildFinished) -> None:
        self.finished_ns = _when(finished.finish_time, finished.finish_time_millis)
        self.exit_name = _text(finished.exit_code.name)
        self.exit_code = finished.exit_code.code


def _when(time: Time, millis: int) -> int:
    """Of the field that Bazel fills, or of the one that it filled before."""
    return nanoseconds(time) or bounded(millis * 10**6)


def _metrics(told: bep.BuildMetrics) -> Metrics:
    actions, timing = told.action_summary, told.timing_metrics
    return Metrics(
        actions=actions.actions_created,
        executed=actions.actions_executed,
        targets=told.target_metrics.targets_configured,
        wall_s=timing.wall_time_in_ms / 1e3,
        cpu_s=timing.cpu_time_in_ms / 1e3,
        ways=tuple((_text(one.name), one.count) for one in actions.runner_count[:MOST_PATTERNS]),
    )


def _status(number: int) -> str:
    known = bep.TestStatus.values()
    return bep.TestStatus.Name(number).lower() if number in known else f"status {number}"


def _text(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
