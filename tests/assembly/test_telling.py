"""Actions and workers in words."""

from builder.assembly.live import VIEWS, Rates, plain_line, screen
from builder.reapi.pb import control_pb2 as pb
from builder.telemetry import telling

NOW_NS = 10_000_000_000


def action(**fields: object) -> pb.Action:
    made = pb.Action(operation="operations/0123456789abcdef", stage="queued", **fields)
    made.queued.FromSeconds(7)
    return made


def test_a_list_says_state_time_and_reason() -> None:
    """Waiting ones say why; ended ones only if that is news."""
    ended = action(target="//b", mnemonic="Cc", outcome="failed", exit_code=2, reason="has")
    ended.ended.FromSeconds(8)
    found = pb.ListActionsResponse(actions=[action(target="//a", reason="waits"), ended], more=True)
    assert telling.actions(found, NOW_NS) == [
        "ID            STATE       TOOK  WORKER  ACTION  WHY",
        "0123456789ab  queued      3.0s  -       //a     waits",
        "0123456789ab  failed (2)  1.0s  -       Cc //b",
        "There are more: --limit N shows them.",
    ]


def test_a_client_cannot_move_the_cursor() -> None:
    """Escape sequences and line breaks in a target are shown, not obeyed."""
    found = pb.ListActionsResponse(actions=[action(target="\x1b[2J//evil\nforged")])
    text = "\n".join(telling.actions(found, NOW_NS))
    assert "\x1b" not in text
    assert text.count("\n") == 1


def test_details_show_what_there_is_and_nothing_else() -> None:
    """Sections without content are left out; output is shown line by line."""
    details = pb.ActionDetails(summary=action(target="//a"), stdout=b"one\n\x1b[31mtwo\n")
    details.command.arguments.extend(["cc", "a b.c"])
    text = "\n".join(telling.action(details, NOW_NS))
    assert "Arguments: cc 'a b.c'" in text
    assert "stdout:\n  one\n  \ufffd[31mtwo" in text
    assert "Guarantees" not in text
    assert "stderr" not in text


def test_an_audit_tells_what_is_not_declared() -> None:
    """Who used it and how; of a long list how much is left out."""
    details = pb.ActionDetails(summary=action(target="//a"))
    audit = details.proof.audit
    audit.count, audit.complete, audit.outside_count = 50, True, 2
    audit.outside.add(name="/builder/work/a.h", use="look", program="cc1")
    assert telling.action(details, NOW_NS)[-4:] == [
        "Audit:",
        "  2 of 50 names are not declared",
        "  look    /builder/work/a.h (by cc1), which is not there",
        "  ... 1 more",
    ]


def test_an_explanation_shows_both_sides() -> None:
    answer = pb.MissExplanation(action=action(target="//a"), conclusion="It differs in 1 variable.")
    answer.differences.add(kind="variable", name="DATE", after="today")
    answer.more_differences = 2
    assert telling.explanation(answer) == [
        "//a: It differs in 1 variable.",
        "",
        "variable DATE",
        "  before: (not there)",
        "  now:    today",
        "",
        "... and 2 differences more",
    ]


def test_workers_say_what_they_run() -> None:
    status = pb.Status(action=[action(target="//a", worker="w1")])
    assert telling.workers(status) == ["No worker is connected."]
    status.worker.add(
        name="w1", state="busy", slots=2, slots_busy=1, backend="ns", host="h", health="healthy"
    )
    assert telling.workers(status)[1] == "w1      busy   1/2    healthy  ns       h     //a"
    status.worker[0].health, status.worker[0].ailment = "degraded", "its disk is full"
    assert telling.workers(status)[2] == "w1 is degraded: its disk is full"
    status.worker[0].persistent_workers = 2
    assert "  ns, 2 persistent  " in telling.workers(status)[1]


def counted(completed: int) -> pb.Status:
    return pb.Status(queue=pb.QueueCounts(completed=completed))


def test_throughput_is_that_of_the_last_minute() -> None:
    """Nothing is known before the second look; a service that starts anew starts at nothing."""
    rates = Rates()
    assert rates.per_minute(counted(100), 0.0) == 0
    assert rates.per_minute(counted(110), 10.0) == 60
    assert rates.per_minute(counted(110), 65.0) == 0
    assert rates.per_minute(counted(3), 66.0) == 0


def test_a_screen_fits_the_terminal_and_says_its_keys() -> None:
    """The box comes first in each view."""
    status = counted(5)
    status.problems.append("disk \x1b is full")
    for view, name in VIEWS.items():
        lines = screen(view, status, pb.ListActionsResponse(), 12.0, (60, 12))
        assert len(lines) < 12
        assert max(map(len, lines)) <= 60
        assert "12 actions/min" in lines[3]
        assert f"<{name}>" in lines[6]
        assert "\x1b" not in "".join(lines)


def test_without_a_terminal_a_line_says_it_all() -> None:
    assert "completed=5 throughput=12/min hits=- healthy" in plain_line(counted(5), 12.0)
