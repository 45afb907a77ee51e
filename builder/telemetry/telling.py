"""Actions and workers in words, for the terminal.

Whatever comes from clients (targets, paths, outputs) is shown without control characters, so that
it cannot move the cursor of whoever looks.
"""

import shlex
from collections.abc import Iterable, Sequence

from builder.base.units import format_duration, format_size
from builder.reapi.pb import control_pb2 as pb
from builder.reapi.pb.duration_pb2 import Duration
from builder.reapi.pb.timestamp_pb2 import Timestamp
from builder.reapi.times import nanoseconds

SHORT_ID = 12
GARBLED = "\N{REPLACEMENT CHARACTER}"
MOST_ROWS = 30  # of inputs and of outputs
STAGES = (
    ("queued", "queued_timestamp", "worker_start_timestamp"),
    ("inputs", "input_fetch_start_timestamp", "input_fetch_completed_timestamp"),
    ("execution", "execution_start_timestamp", "execution_completed_timestamp"),
    ("outputs", "output_upload_start_timestamp", "output_upload_completed_timestamp"),
)


def plain(text: str) -> str:
    """Without what a terminal would obey; tabs and line breaks are kept."""
    return "".join(
        sign if sign.isprintable() or sign in "\t\n" else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )


def line(text: str) -> str:
    """One line of it."""
    return plain(text).replace("\n", " ").replace("\t", " ")


def seconds(duration: Duration) -> float:
    return float(nanoseconds(duration)) / 1e9


def between(start: Timestamp, end: Timestamp) -> float:
    return max(float(nanoseconds(end) - nanoseconds(start)) / 1e9, 0.0)


def short(action: pb.Action) -> str:
    """The id that the other commands take."""
    return action.operation.rpartition("/")[2][:SHORT_ID]


def state(action: pb.Action) -> str:
    if action.outcome == "failed" and action.exit_code:
        return f"failed ({action.exit_code})"
    return action.outcome or action.stage


def took(action: pb.Action, now_ns: int) -> float:
    """From asking to the end, or until now."""
    end_ns = nanoseconds(action.ended) if action.HasField("ended") else now_ns
    return max((end_ns - nanoseconds(action.queued)) / 1e9, 0.0)


def label(action: pb.Action) -> str:
    """What people know it by."""
    return line(" ".join(filter(None, (action.mnemonic, action.target))) or action.action[:16])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as they have to be; the last one is not filled up."""
    every = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[n]) for row in every) for n in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]


def workers(status: pb.Status) -> list[str]:
    if not status.worker:
        return ["No worker is connected."]
    running: dict[str, list[str]] = {}
    for action in status.action:
        if action.worker:
            running.setdefault(action.worker, []).append(label(action))
    rows = [
        (
            line(one.name),
            one.state,
            f"{one.slots_busy}/{one.slots}" + (f" +{one.backlog}" if one.backlog else ""),
            one.health or "-",
            _sandbox(one),
            line(one.host),
            ", ".join(running.get(one.name, ())) or "-",
        )
        for one in status.worker
    ]
    ill = [f"{line(one.name)} is {one.health}: {line(one.ailment)}" for one in status.worker]
    told = table(("WORKER", "STATE", "SLOTS", "HEALTH", "SANDBOX", "HOST", "RUNS"), rows)
    return told + [text for text, one in zip(ill, status.worker, strict=True) if one.ailment]


def _sandbox(worker: pb.Worker) -> str:
    """What isolates, whether it takes container images, and how many programs stay there."""
    told = [line(worker.backend)]
    if "container-image" in worker.platform:
        told.append("images")
    if worker.persistent_workers:
        told.append(f"{worker.persistent_workers} persistent")
    return ", ".join(told)


def actions(found: pb.ListActionsResponse, now_ns: int) -> list[str]:
    if not found.actions:
        return ["No action is known."]
    rows = [
        (
            short(one),
            state(one),
            format_duration(took(one, now_ns)),
            line(one.worker) or "-",
            label(one),
            line(one.reason) if not one.outcome or one.outcome in ("refused", "lost") else "",
        )
        for one in found.actions
    ]
    lines = table(("ID", "STATE", "TOOK", "WORKER", "ACTION", "WHY"), rows)
    return [*lines, "There are more: --limit N shows them."] if found.more else lines


def action(details: pb.ActionDetails, now_ns: int) -> list[str]:
    """Everything on one page."""
    one = details.summary
    lines = [f"{label(one)}: {state(one)} after {format_duration(took(one, now_ns))}"]
    lines += _rows(
        ("Operation", one.operation),
        ("Action", one.action),
        ("Invocation", " ".join(filter(None, (one.tool, one.invocation)))),
        ("Worker", one.worker),
        ("Why", one.reason),
        ("Kept", details.kept),
        ("Message", details.response.status.message or details.response.message),
    )
    lines += _section("Command", _command(details))
    lines += _section("Timeline", _timeline(details))
    lines += _section("Resources", _resources(details))
    lines += _section("Guarantees", _rows(*_guarantees(details)))
    lines += _section("Audit", _audit(details))
    size = format_size(details.input_bytes)
    inputs = [
        f"  {plain(i.path)}  {f'-> {plain(i.target)}' if i.target else short_digest(i)}"
        for i in details.inputs[:MOST_ROWS]
    ]
    lines += _section(f"Inputs ({details.input_count} files, {size})", inputs)
    if details.input_count > len(inputs):
        lines.append(f"  ... {details.input_count - len(inputs)} more (--json has up to 1000)")
    lines += _section("Outputs", _outputs(details))
    for name, data in (("stdout", details.stdout), ("stderr", details.stderr)):
        if data:
            text = plain(data.decode(errors="replace")).rstrip("\n")
            lines += _section(name, [f"  {row}" for row in text.split("\n")])
    return lines + _section("Notes", [f"  {note}" for note in details.notes])


def short_digest(one: pb.Input) -> str:
    return f"{one.digest.hash[:12]} {format_size(one.digest.size_bytes)}"


def _section(title: str, rows: list[str]) -> list[str]:
    return ["", f"{title}:", *rows] if rows else []


def _rows(*rows: tuple[str, str]) -> list[str]:
    return [f"  {name}: {line(value)}" for name, value in rows if value]


def _command(details: pb.ActionDetails) -> list[str]:
    command, found = details.command, details.action
    platform = found.platform if found.platform.properties else command.platform
    timeout_s = seconds(found.timeout)
    return _rows(
        ("Arguments", shlex.join(command.arguments)),
        *((f"${one.name}", one.value) for one in command.environment_variables),
        ("Directory", command.working_directory),
        ("Platform", ", ".join(f"{p.name}={p.value}" for p in platform.properties)),
        ("Timeout", format_duration(timeout_s) if timeout_s else ""),
        ("Cached", "no, as the action asks" if found.do_not_cache else ""),
    )


def _timeline(details: pb.ActionDetails) -> list[str]:
    start = details.summary.queued
    lines = [f"  +{between(start, one.at):.3f}s  {line(one.what)}" for one in details.timeline]
    return lines + _rows(*((name, format_duration(s)) for name, s in stage_seconds(details)))


def stage_seconds(details: pb.ActionDetails) -> list[tuple[str, float]]:
    """How long each stage on the worker took; nothing where none has told."""
    metadata = details.response.result.execution_metadata
    if not metadata.worker:
        return []
    return [
        (name, between(getattr(metadata, start), getattr(metadata, end)))
        for name, start, end in STAGES
    ]


def _resources(details: pb.ActionDetails) -> list[str]:
    if not details.HasField("proof"):
        return []
    proof = details.proof
    return _rows(
        ("CPU", f"{seconds(proof.user_cpu):.3f}s user, {seconds(proof.system_cpu):.3f}s system"),
        ("Peak memory", format_size(proof.peak_memory_bytes)),
        ("Processes", str(proof.processes) if proof.processes else ""),
        ("Disk", _disk(proof.read_bytes, proof.written_bytes)),
        ("Sandbox", f"{seconds(proof.setup):.3f}s set-up, {seconds(proof.cleanup):.3f}s clean-up"),
        ("Reused", f"{proof.reused} before it in its sandbox" if proof.reused else ""),
        ("Attempt", str(proof.attempt) if proof.attempt > 1 else ""),
        ("Outcome", proof.outcome),
    )


def _disk(read: int, written: int) -> str:
    return f"{format_size(read)} read, {format_size(written)} written" if read or written else ""


def _guarantees(details: pb.ActionDetails) -> list[tuple[str, str]]:
    proof = details.proof
    return [
        ("Backend", proof.backend),
        ("Image", plain(proof.image)),
        ("Held", ", ".join(proof.guarantees)),
        ("Limits", ", ".join(proof.limits)),
    ]


def _audit(details: pb.ActionDetails) -> list[str]:
    """What it used beyond what it declares; nothing for an action that was not audited."""
    if not details.proof.HasField("audit"):
        return []
    audit = details.proof.audit
    partly = "" if audit.complete else ", and there may be more"
    rows = [f"  {audit.outside_count} of {audit.count} names are not declared{partly}"]
    rows += [
        f"  {one.use:<7} {line(one.name)} (by {line(one.program)})"
        + ("" if one.there or one.use == "write" else ", which is not there")
        for one in audit.outside[:MOST_ROWS]
    ]
    more = audit.outside_count - min(len(audit.outside), MOST_ROWS)
    return [*rows, f"  ... {more} more"] if more > 0 else rows


def _outputs(details: pb.ActionDetails) -> list[str]:
    result = details.response.result
    rows = [
        f"  {plain(one.path)}  {one.digest.hash[:12]} {format_size(one.digest.size_bytes)}"
        for one in result.output_files[:MOST_ROWS]
    ]
    rows += [f"  {plain(one.path)}/" for one in result.output_directories[:MOST_ROWS]]
    return rows


def explanation(answer: pb.MissExplanation) -> list[str]:
    lines = [f"{label(answer.action)}: {answer.conclusion}"]
    if answer.HasField("earlier"):
        earlier = answer.earlier
        lines.append(f"Compared with {short(earlier)} ({state(earlier)}), the nearest earlier one.")
    for one in answer.differences:
        lines += ["", f"{one.kind} {plain(one.name)}"]
        lines += [f"  before: {line(one.before) or '(not there)'}"]
        lines += [f"  now:    {line(one.after) or '(not there)'}"]
        lines += [f"  {row}" for row in plain(one.diff).split("\n") if one.diff]
    if answer.more_differences:
        lines += ["", f"... and {answer.more_differences} differences more"]
    return lines
