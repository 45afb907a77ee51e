"""The system calls that no action needs and every escape starts with, as a classic BPF filter.

The filter is data (a list of instructions) until `install`. Its shape: a foreign architecture
kills; the x32 variants do not exist; clone3 answers ENOSYS, never EPERM, because the C library
falls back to clone only then and clone's flags can be seen while clone3's cannot; new namespaces,
foreign socket families, sending without a copy, terminal injection, leases and limits on the
sandbox's init are refused by argument; what flushes the host's disks, or changes the limit of
cores, is done without doing anything; the deny list answers EPERM; everything else passes.

AF_VSOCK is the important family: no network namespace confines it.
See seccomp(2), bpf's classic instructions in Documentation/networking/filter.rst.
"""

import ctypes

from builder.sandbox.kernel.syscalls import Steps

EPERM, ENOSYS, ENOPROTOOPT, EPROTONOSUPPORT, ESOCKTNOSUPPORT = 1, 38, 92, 93, 94
EAFNOSUPPORT = 97
DONE = 0  # "no error": the call does nothing
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
NR, ARCH, ARG0, ARG1, ARG2 = 0, 4, 16, 24, 32  # offsets in struct seccomp_data (low halves)
HIGH = 4
NEW_NAMESPACES = 0x7E020080
LOCAL, INTERNET = 1, (2, 10)  # AF_UNIX; AF_INET, AF_INET6
KINDS, OTHER_KINDS = 0xF, 4  # of sockets: streams, datagrams and raw ones come before
PROTOCOLS = (0, 1, 6, 17, 58, 136, 262)  # the kind's own, ICMP, TCP, UDP, ICMPv6, UDP-Lite, MPTCP
# SOL_SOCKET, SO_ZEROCOPY: what is sent so is bounded for all processes of a user together
SOCKET, ZEROCOPY = 1, 60
NETLINK, ROUTE = 16, 0  # of which only what lists interfaces and addresses
# terminal injection, and line disciplines, which make the kernel load whatever driver is named
TERMINAL = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, TIOCSETD
# bridges and VLANs, whose modules the kernel loads for whoever asks: SIOCGIFBR, SIOCSIFBR,
# SIOCBRADDBR, SIOCBRDELBR, SIOCGIFVLAN, SIOCSIFVLAN
LINKS = (0x8940, 0x8941, 0x89A0, 0x89A1, 0x8982, 0x8983)
# F_SETLEASE: who holds a lease on a file that others see too has each of their opens wait
LEASE = 1024
SET_MODE_FILTER = 1
X32_BIT = 0x40000000

Instruction = tuple[int, int, int, int]

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable, Mapping

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COMMON = {  # the same numbers everywhere since 5.1
    "pidfd_getfd": 438, "process_madvise": 440, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "quotactl_fd": 443, "process_mrelease": 448, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "statmount": 457, "listmount": 458, "open_tree_attr": 467,
}  # fmt: skip
DENIED = {
    "x86_64": {
        **COMMON,
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272,
        "setns": 308, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "kcmp": 312, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250,
        "add_key": 248, "request_key": 249, "init_module": 175, "finit_module": 313,
        "delete_module": 176, "create_module": 174, "query_module": 178, "get_kernel_syms": 177,
        "kexec_load": 246, "kexec_file_load": 320, "reboot": 169, "swapon": 167, "swapoff": 168,
        "acct": 163, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
        "clock_adjtime": 305, "iopl": 172, "ioperm": 173, "open_by_handle_at": 304,
        "name_to_handle_at": 303, "quotactl": 179, "vhangup": 153, "nfsservctl": 180,
        "remap_file_pages": 216, "fanotify_init": 300, "fanotify_mark": 301, "syslog": 103,
        "sethostname": 170, "setdomainname": 171, "lookup_dcookie": 212, "uselib": 134,
        "_sysctl": 156, "modify_ldt": 154,
    },
    "aarch64": {
        **COMMON,
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219, "add_key": 217,
        "request_key": 218, "init_module": 105, "finit_module": 273, "delete_module": 106,
        "kexec_load": 104, "kexec_file_load": 294, "reboot": 142, "swapon": 224, "swapoff": 225,
        "acct": 89, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171,
        "clock_adjtime": 266, "open_by_handle_at": 265, "name_to_handle_at": 264, "quotactl": 60,
        "vhangup": 58, "nfsservctl": 42, "remap_file_pages": 234, "fanotify_init": 262,
        "fanotify_mark": 263, "syslog": 116, "sethostname": 161, "setdomainname": 162,
        "lookup_dcookie": 18,
    },
}  # fmt: skip
# those of the deny list by which a sandbox is made
MAKING = (
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "sethostname"),
)
INSPECTED = {  # calls whose arguments decide
    "x86_64": {"clone": 56, "clone3": 435, "socket": 41, "socketpair": 53, "ioctl": 16,
               "fcntl": 72, "setsockopt": 54},
    "aarch64": {"clone": 220, "clone3": 435, "socket": 198, "socketpair": 199, "ioctl": 29,
                "fcntl": 25, "setsockopt": 208},
}  # fmt: skip
# calls that would let the action cripple its own init, PID 1, whose user it shares; by argument 0
GUARDED = {
    "x86_64": {"prlimit64": 302, "sched_setaffinity": 203, "sched_setscheduler": 144,
               "sched_setparam": 142, "sched_setattr": 314},
    "aarch64": {"prlimit64": 261, "sched_setaffinity": 122, "sched_setscheduler": 119,
                "sched_setparam": 118, "sched_setattr": 274},
}  # fmt: skip
# what flushes the host's disks, with everybody's files; an action's own are scratch
FLUSHES = {"x86_64": {"sync": 162, "syncfs": 306}, "aarch64": {"sync": 81, "syncfs": 267}}
# all of the host's asynchronous requests are counted together: one action could take them
LACKING = {"x86_64": {"io_setup": 206}, "aarch64": {"io_setup": 0}}
CORE = 4  # RLIMIT_CORE: with any value but one the host's collector of cores is run, as root
LIMITING = {
    "x86_64": {"setrlimit": 160, "prlimit64": 302},
    "aarch64": {"setrlimit": 164, "prlimit64": 261},
}
INIT = 1
# the same by argument 1; and argument 0 may not say "all of my user's", which the init is one of
RANKED = {
    "x86_64": {"setpriority": (141, 2), "ioprio_set": (251, 3)},
    "aarch64": {"setpriority": (140, 2), "ioprio_set": (30, 3)},
}


def refuse(code: int) -> int:
    """The filter's answer that makes a call fail with this error."""
    return ERRNO | code


def program(machine: str) -> list[Instruction]:
    """The filter for a machine as (code, jump if true, jump if false, operand).

    Raises KeyError for a machine without tables.
    """
    return by_argument(machine) + search(ranges(DENIED[machine].values()))


def while_making(machine: str) -> list[Instruction]:
    """The same without the calls that make a sandbox: for those who have to make one yet."""
    denied = DENIED[machine].items()
    return by_argument(machine) + search(ranges(n for name, n in denied if name not in MAKING))


def when_made(machine: str) -> list[Instruction]:
    """What then is to be added. The kernel tries a new filter with every call that the old ones
    let pass, so the smaller the one that each sandbox adds, the sooner it is ready."""
    denied = DENIED[machine]
    return [(LOAD, 0, 0, NR), *search(ranges(denied[name] for name in MAKING))]


def where_it_is(machine: str) -> list[Instruction]:
    """Nobody leaves the processors that they were put on."""
    number = GUARDED[machine]["sched_setaffinity"]
    out = [(LOAD, 0, 0, NR), (EQUAL, 0, 1, number), (RETURN, 0, 0, refuse(EPERM))]
    return [*out, (RETURN, 0, 0, ALLOW)]


def only_itself(machine: str) -> list[Instruction]:
    """Where an action shares its process numbers with the host: what its user may change of other
    processes (limits, processors, priorities) is refused, by whatever number it names one."""
    guarded = sorted(GUARDED[machine].values())
    ranked = sorted(number for number, _ in RANKED[machine].values())
    out: list[Instruction] = [(LOAD, 0, 0, NR)]
    for number in guarded:
        out += [(EQUAL, 0, 3, number), *_none_but_0(ARG0)]
    for number in ranked:
        out += [(EQUAL, 0, 3, number), *_none_but_0(ARG1)]
    return [*out, (RETURN, 0, 0, ALLOW)]


def _none_but_0(argument: int) -> list[Instruction]:
    return [(LOAD, 0, 0, argument), (EQUAL, 1, 0, 0), (RETURN, 0, 0, refuse(EPERM))]


def by_argument(machine: str) -> list[Instruction]:
    """The first part of the filter: what is decided by architecture or arguments."""
    calls = INSPECTED[machine]
    return [
        *_architecture(machine),
        *_new_processes(calls),
        *_sockets(calls),
        *_files(calls),
        *_flushes(machine),
        *_cores(machine),
        *_supervisors(machine),
    ]


def _architecture(machine: str) -> list[Instruction]:
    out = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NR),
    ]
    if machine == "x86_64":
        out += [(AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, refuse(ENOSYS))]
    return out


def _new_processes(calls: "Mapping[str, int]") -> list[Instruction]:
    """In no namespaces of their own; clone3's arguments lie in memory, where no filter looks."""
    return [
        (EQUAL, 0, 1, calls["clone3"]),
        (RETURN, 0, 0, refuse(ENOSYS)),
        (EQUAL, 0, 4, calls["clone"]),
        (LOAD, 0, 0, ARG0),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, refuse(EPERM)),
        (RETURN, 0, 0, ALLOW),
    ]


def _sockets(calls: "Mapping[str, int]") -> list[Instruction]:
    """Local ones; those of the usual kinds and protocols, because the kernel loads a module for any
    other that is asked for; and netlink's that tells of interfaces. They send copies."""
    out: list[Instruction] = [
        (EQUAL, 0, 6, calls["setsockopt"]),
        (LOAD, 0, 0, ARG1),
        (EQUAL, 0, 3, SOCKET),
        (LOAD, 0, 0, ARG2),
        (EQUAL, 0, 1, ZEROCOPY),
        (RETURN, 0, 0, refuse(ENOPROTOOPT)),
        (RETURN, 0, 0, ALLOW),
    ]
    for name in ("socket", "socketpair"):
        body = _by_family()
        out += [(EQUAL, 0, len(body), calls[name]), *body]
    return out


def _by_family() -> list[Instruction]:
    usual = [
        (LOAD, 0, 0, ARG1),
        (AND, 0, 0, KINDS),
        (AT_LEAST, 0, 1, OTHER_KINDS),
        (RETURN, 0, 0, refuse(ESOCKTNOSUPPORT)),
        (LOAD, 0, 0, ARG2),
    ]
    usual += [(EQUAL, len(PROTOCOLS) - n, 0, number) for n, number in enumerate(PROTOCOLS)]
    usual.append((RETURN, 0, 0, refuse(EPROTONOSUPPORT)))
    routes = [(LOAD, 0, 0, ARG2), (EQUAL, len(usual) + 1, 0, ROUTE)]
    routes.append((RETURN, 0, 0, refuse(EPROTONOSUPPORT)))
    return [
        (LOAD, 0, 0, ARG0),
        (EQUAL, len(routes) + len(usual) + 4, 0, LOCAL),
        (EQUAL, len(routes) + 3, 0, INTERNET[0]),
        (EQUAL, len(routes) + 2, 0, INTERNET[1]),
        (EQUAL, 1, 0, NETLINK),
        (RETURN, 0, 0, refuse(EAFNOSUPPORT)),
        *routes,
        *usual,
        (RETURN, 0, 0, ALLOW),
    ]


def _files(calls: "Mapping[str, int]") -> list[Instruction]:
    """Nobody types into a terminal of others, has a driver loaded, or holds their opening of a file
    up."""
    requests = (*TERMINAL, *LINKS)
    out = [(EQUAL, 0, 3 + len(requests), calls["ioctl"]), (LOAD, 0, 0, ARG1)]
    for left, request in enumerate(reversed(requests)):
        out.insert(2, (EQUAL, left, 0 if left else 1, request))
    return [
        *out,
        (RETURN, 0, 0, refuse(EPERM)),
        (RETURN, 0, 0, ALLOW),
        (EQUAL, 0, 4, calls["fcntl"]),
        (LOAD, 0, 0, ARG1),
        (EQUAL, 0, 1, LEASE),
        (RETURN, 0, 0, refuse(EPERM)),
        (RETURN, 0, 0, ALLOW),
    ]


def _flushes(machine: str) -> list[Instruction]:
    out: list[Instruction] = []
    for number in FLUSHES[machine].values():
        out += [(EQUAL, 0, 1, number), (RETURN, 0, 0, refuse(DONE))]
    for number in LACKING[machine].values():
        out += [(EQUAL, 0, 1, number), (RETURN, 0, 0, refuse(ENOSYS))]
    return out


def _cores(machine: str) -> list[Instruction]:
    """Their limit stays, though some programs end when they cannot set it; it can be read."""
    numbers = LIMITING[machine]
    return [
        (EQUAL, 0, 4, numbers["setrlimit"]),
        (LOAD, 0, 0, ARG0),
        (EQUAL, 0, 1, CORE),
        (RETURN, 0, 0, refuse(DONE)),
        (RETURN, 0, 0, ALLOW),
        (EQUAL, 0, 8, numbers["prlimit64"]),
        (LOAD, 0, 0, ARG1),
        (EQUAL, 0, 5, CORE),
        (LOAD, 0, 0, ARG2),
        (EQUAL, 0, 2, 0),
        (LOAD, 0, 0, ARG2 + HIGH),
        (EQUAL, 1, 0, 0),
        (RETURN, 0, 0, refuse(DONE)),
        (LOAD, 0, 0, NR),
    ]


def _supervisors(machine: str) -> list[Instruction]:
    """Nothing is changed of the sandbox's init, nor of all processes of its user."""
    out: list[Instruction] = []
    for number in sorted(GUARDED[machine].values()):
        out += [
            (EQUAL, 0, 4, number),
            (LOAD, 0, 0, ARG0),
            (EQUAL, 0, 1, INIT),
            (RETURN, 0, 0, refuse(EPERM)),
            (RETURN, 0, 0, ALLOW),
        ]
    for number, all_of_user in RANKED[machine].values():
        out += [
            (EQUAL, 0, 6, number),
            (LOAD, 0, 0, ARG0),
            (EQUAL, 2, 0, all_of_user),
            (LOAD, 0, 0, ARG1),
            (EQUAL, 0, 1, INIT),
            (RETURN, 0, 0, refuse(EPERM)),
            (RETURN, 0, 0, ALLOW),
        ]
    return out


def ranges(numbers: "Iterable[int]") -> list[tuple[int, int]]:
    """Numbers as half-open ranges, sorted."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def search(denied: list[tuple[int, int]]) -> list[Instruction]:
    """Refuse what is in one of the ranges, by halving: the kernel tries every filter with every
    number when it is installed, which makes a long list of comparisons dear (0.2 ms)."""
    if not denied:
        return [(RETURN, 0, 0, ALLOW)]
    if len(denied) == 1:
        first, end = denied[0]
        return [
            (AT_LEAST, 0, 2, first),
            (AT_LEAST, 1, 0, end),
            (RETURN, 0, 0, refuse(EPERM)),
            (RETURN, 0, 0, ALLOW),
        ]
    half = len(denied) // 2
    below, above = search(denied[:half]), search(denied[half:])
    return [(AT_LEAST, len(below), 0, denied[half][0]), *below, *above]


def encoded(instructions: list[Instruction]) -> bytes:
    """The instructions as an array of struct sock_filter."""
    return b"".join(
        code.to_bytes(2, "little") + bytes((true, false)) + operand.to_bytes(4, "little")
        for code, true, false, operand in instructions
    )


class Filter:
    """A filter in memory, ready to be installed by any process forked from here."""

    def __init__(self, instructions: list[Instruction]) -> None:
        code = encoded(instructions)
        self._code = ctypes.create_string_buffer(code, len(code))
        head = (len(code) // 8).to_bytes(8, "little")
        fprog = head + ctypes.addressof(self._code).to_bytes(8, "little")
        self._steps = Steps([("filtering calls", "seccomp", (SET_MODE_FILTER, 0, fprog))])

    def install(self) -> None:
        """Put it on this process and all its children, for good. Needs no_new_privs."""
        self._steps.perform()
