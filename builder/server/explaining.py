"""Why an action was a miss: the nearest earlier one of its kind, and what differs from it.

Nearest is the newest earlier action of the same target and mnemonic that declares the same outputs;
failing that, the newest of the same target and mnemonic. Clients that send no RequestMetadata are
understood by program and outputs.
"""

from dataclasses import replace
from itertools import islice

from builder.action.compare import Described, Difference, differences, summary, text_diff
from builder.base.digest import Digest
from builder.base.errors import StatusError
from builder.reapi.digests import from_proto
from builder.reapi.pb import control_pb2 as pb
from builder.schedule.spec import Client
from builder.server.history import History
from builder.server.inspection import Parts, Readers, described, outputs_of
from builder.server.shelf import Record
from builder.server.summaries import outcome_of

MOST_LOOKED_AT = 200  # earlier actions whose command is read
MOST_TOLD = 100  # differences
MOST_DIFFS = 5
MOST_DIFF_BYTES = 64 * 1024
FORCED = "Its client asked not to look into the cache."


class Explainer:
    def __init__(self, history: History, readers: Readers) -> None:
        self._history = history
        self._readers = readers

    async def explain(self, record: Record) -> tuple[pb.MissExplanation, Record | None]:
        """Without the two summaries, which the caller can make; and the earlier action."""
        if record.cached:
            return pb.MissExplanation(conclusion="It was no miss: the action cache had it."), None
        repeated = self._repeated(record) if record.spec.skip_cache else None
        if repeated is not None:
            answer, earlier = await self.explain(repeated)
            answer.conclusion = f"{FORCED} The run that it repeats: {answer.conclusion}"
            return answer, earlier
        same = next((o for o in self._history.before(record) if _same_key(o, record)), None)
        if same is not None and same.spec.key == record.spec.key:
            return pb.MissExplanation(conclusion=_repeated(record, same)), same
        parts = await self._readers.of(record).parts(record)
        if parts.command is None:
            return pb.MissExplanation(conclusion="Its command is no longer stored."), None
        found = await self._nearest(record, parts)
        if found is None:
            return pb.MissExplanation(conclusion=_first(record.spec.client)), None
        earlier, before = found
        answer = await self._compare(before, parts)
        if same is not None:
            answer.conclusion += (
                f" The very same action ran in instance {same.spec.key.instance!r}."
            )
        return answer, earlier

    def _repeated(self, record: Record) -> Record | None:
        """The run of the same action that an order to run it again repeats: the newest that was
        not ordered so itself, or else the first."""
        same = (o for o in self._history.before(record) if o.spec.key == record.spec.key)
        oldest = None
        for other in same:
            if not other.cached:
                oldest = other
                if not other.spec.skip_cache:
                    break
        return oldest

    async def _nearest(self, record: Record, parts: Parts) -> tuple[Record, Parts] | None:
        assert parts.command is not None
        outputs, program = outputs_of(parts.command), parts.command.arguments[:1]
        client = record.spec.client
        named = bool(client.target)
        likely = (o for o in self._history.before(record) if _is_kin(o.spec.client, client))
        nearest: tuple[Record, Parts] | None = None
        for other in islice(likely, MOST_LOOKED_AT):
            found = await self._readers.of(other).parts(other)
            if found.command is None or found.function != parts.function:
                continue
            if outputs_of(found.command) == outputs and (
                named or found.command.arguments[:1] == program
            ):
                return other, found
            nearest = nearest or ((other, found) if named else None)
        return nearest

    async def _compare(self, before: Parts, after: Parts) -> pb.MissExplanation:
        assert before.action is not None
        assert after.action is not None
        function = after.function
        old_root = from_proto(before.action.input_root_digest, function)
        new_root = from_proto(after.action.input_root_digest, function)
        old_inputs, new_inputs = await after.reader.changed(new_root, before.reader, old_root)
        old: Described = replace(described(before), inputs=old_inputs)
        new: Described = replace(described(after), inputs=new_inputs)
        found = differences(old, new)
        answer = pb.MissExplanation(conclusion=f"It differs in {summary(found)}.")
        if not found:
            answer.conclusion = "It differs in the form of its messages only."
        answer.more_differences = max(len(found) - MOST_TOLD, 0)
        for difference in found[:MOST_TOLD]:
            told = answer.differences.add(kind=difference.kind, name=difference.name)
            told.before = "" if difference.before is None else difference.before
            told.after = "" if difference.after is None else difference.after
            if sum(bool(one.diff) for one in answer.differences) < MOST_DIFFS:
                told.diff = await _diff(difference, before, after)
        return answer


async def _diff(difference: Difference, before: Parts, after: Parts) -> str:
    """Of an input that both actions have, small and a text."""
    if difference.kind != "input" or difference.before is None or difference.after is None:
        return ""
    old = await _text(difference.before, before)
    new = await _text(difference.after, after)
    return text_diff(old, new) if old is not None and new is not None else ""


async def _text(shown: str, parts: Parts) -> bytes | None:
    hash_, _, rest = shown.partition("/")
    size = rest.partition(" ")[0]
    if not size.isdigit() or int(size) > MOST_DIFF_BYTES:
        return None
    try:
        return await parts.reader.small(Digest(hash_, int(size), parts.function))
    except StatusError:
        return None


def _same_key(other: Record, record: Record) -> bool:
    """The same action, in whatever instance."""
    return other.spec.key[1:] == record.spec.key[1:]


def _is_kin(other: Client, client: Client) -> bool:
    return (other.target, other.mnemonic) == (client.target, client.mnemonic)


def _repeated(record: Record, same: Record) -> str:
    """The very same action was asked for before."""
    if record.spec.skip_cache:
        return FORCED
    if record.spec.do_not_cache:
        return "The action asks not to be cached, so nothing of its earlier run was stored."
    if same.ending is None:
        return "The very same action was still running: this one waited for its result."
    if same.cached or _succeeded(same):
        return (
            "The very same action ran before, and its result or one of its outputs is gone from "
            "the storage since (evicted or deleted): raise store.max_size if this comes often."
        )
    return "The very same action ran before without success, and only success is stored."


def _succeeded(record: Record) -> bool:
    return outcome_of(record) == "succeeded"


def _first(client: Client) -> str:
    if not client.target:
        return "No earlier action with its program and outputs is known here."
    what = f" and mnemonic {client.mnemonic!r}" if client.mnemonic else ""
    whose = f"target {client.target!r}{what}"
    return f"No earlier action of {whose} is known here: it is the first since this service began."
