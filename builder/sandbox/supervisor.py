"""The supervisor: a process beside an action that is told of some of its system calls.

    action --call--> kernel --note--> supervisor --continue, or the result--> kernel --> action

Born of the sandbox's init before the action, and as locked in as it. It serves what has to see
calls: the full audit (`auditor`), and directories in the order of their names
(`kernel/listing.py`). The kernel gives a process one supervisor at most, so there is one for all
of that. An action may kill its supervisor: the calls of its processes then fail.
"""

import _socket
import os
import select

from builder.sandbox import auditor, link
from builder.sandbox.kernel import notify, signals
from builder.sandbox.kernel.listing import Listings
from builder.sandbox.kernel.programs import Programs
from builder.sandbox.kernel.syscalls import MACHINE

FINISH, DONE, LISTENER = b"F", b"D", b"L"
PATIENCE_MS = 2000
OWN_FDS = 256
EXECUTING = [notify.NUMBERS.get(MACHINE, {}).get(name) for name in notify.EXECUTING]


class Supervisor:
    """As its init sees it. `records` is where an audit's record goes, -1 for none; `listings` is
    whether directories are to be sorted; `programs` are those that may be executed, None for
    all."""

    def __init__(self, records: int, *, listings: bool, programs: "Programs | None") -> None:
        self._records = records
        self._sock, theirs = link.pair()
        if os.fork() == 0:
            try:
                serve(theirs, records, programs, listings=listings)
            finally:
                os._exit(0)
        theirs.close()
        calls = notify.wanted(
            MACHINE, names=records >= 0, listings=listings, programs=programs is not None
        )
        listener = notify.listen(calls)
        link.send_packet(self._sock, LISTENER, (listener,))
        os.close(listener)

    def starts(self, program: bytes) -> None:
        """What the init is about to execute."""
        if self._records >= 0:
            auditor.starts(self._records, program)

    def finish(self) -> str:
        """Everything up to now is written when this returns; what comes after it is let pass
        unseen until `close`. Returns the programs that were refused."""
        try:
            link.send_packet(self._sock, FINISH)
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            told = link.receive_packet(self._sock)[0] if poll.poll(PATIENCE_MS) else b""
        except OSError:
            told = b""  # it is dead: its last line is missing
        return told[len(DONE) :].decode(errors="replace")

    def close(self) -> None:
        """End it. Calls of those that are left fail from now on."""
        self._sock.close()


def serve(
    sock: "_socket.socket", records: int, programs: "Programs | None", *, listings: bool
) -> None:
    """In a fork of the init: until it is to end, or nobody is left."""
    init = os.getppid()
    settle((sock.fileno(), records))
    _, fds = link.receive_packet(sock)
    if not fds:
        return
    listener = fds[0]
    watcher = auditor.Watcher(records) if records >= 0 else None
    desk = Desk(listener, init, watcher, Listings(listener) if listings else None, programs)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(sock, select.POLLIN)
    while True:
        ready, events = poll.poll()[0]  # the listener, if both: it has been registered first
        if ready == listener:
            if not events & select.POLLIN:
                return
            desk.step()
        else:
            if link.receive_packet(sock)[0] != FINISH:
                return
            if watcher is not None:
                watcher.finish()
            link.send_packet(sock, DONE + (b"" if programs is None else programs.refused()))
            desk.look_away()


def settle(keep: "tuple[int, ...]") -> None:
    """End by no signal but KILL, and hold nothing of the init's but these."""
    for number in (signals.SIGTERM, signals.SIGCHLD):
        signals.signal(number, signals.SIG_IGN)
    first = 0
    for fd in (*sorted(one for one in keep if one >= 0), OWN_FDS):
        os.closerange(first, fd)
        first = fd + 1


class Desk:
    """Answers one call after the other; those of the init itself are nobody's affair."""

    def __init__(
        self,
        listener: int,
        init: int,
        watcher: "auditor.Watcher | None",
        listings: "Listings | None",
        programs: "Programs | None",
    ) -> None:
        self._listener, self._init = listener, init
        self._watcher, self._listings, self._programs = watcher, listings, programs
        notify.wake_in_turn(listener)

    def look_away(self) -> None:
        """Let everything go on from now on."""
        self._watcher = self._programs = None

    def step(self) -> None:
        try:
            note = notify.receive(self._listener)
        except OSError:
            return  # its process has died
        found: auditor.Found | None = None
        watcher = self._watcher
        try:
            if note.pid != self._init:
                if self._listings is not None and self._listed(note, self._listings):
                    return
                if self._programs is not None and note.number in EXECUTING:
                    self._programs.see(auditor.executed(note))
                found = None if watcher is None else watcher.see(note)
        except PermissionError:
            if watcher is not None:
                watcher.unseen()
        except (OSError, OverflowError):
            pass  # it died while we looked, or has passed an address that is none
        notify.proceed(self._listener, note)
        if found is not None and watcher is not None:
            watcher.keep(found)

    def _listed(self, note: notify.Note, listings: Listings) -> bool:
        """Whether it was answered. Raises OSError."""
        return note.number == notify.LISTING[MACHINE] and listings.answered(note)
