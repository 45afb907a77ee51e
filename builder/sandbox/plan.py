"""What is set up, as a flat list of operations: data that can be printed and compared.

An operation is a tuple, its kind first. `perform` in `kernel/perform.py` is the loop that does
them. Two lists make a sandbox: the template, built once by the zygote, and what each sandbox
adds to its own copy of it.
"""

# ruff: noqa: S108 - these are places in the sandbox's own root, empty and its own

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Sequence

Operation = tuple[str, ...]

USER = "builder"
USER_ID = 1000
HOST_NAME = "builder"
WORK_TREE, NOTHING = "/builder/work", "/builder/nothing"
ROOT_TREE = "/builder/root"  # the work tree again, where that is an action's whole root
OWN_IN_ROOT = ("proc", "dev", "tmp")  # what it sees there of the sandbox's own

LAYERS = "layers"  # of an image, as the whole root
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Only what programs need to find their libraries, interpreters and certificates; never all of it.
CONFIGURATION = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/debian_version",
    "/etc/java-*",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/perl",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/python3*",
    "/etc/rpc",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
RESOLVER = "/etc/resolv.conf"
ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime")
TEMPORARY = ("/tmp", "/dev/shm")
DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
PROC_MASKED = (
    *("kcore", "keys", "key-users", "kallsyms", "kpagecount", "kpageflags", "timer_list"),
    *("cmdline", "slabinfo", "sched_debug", "latency_stats", "config.gz", "vmallocinfo"),
    *("interrupts", "softirqs", "diskstats", "partitions", "locks"),  # what others do
)
PROC_EMPTY = ("acpi", "scsi", "driver", "pressure")

PASSWD = f"root:x:0:0:root:/:/usr/sbin/nologin\n{USER}:x:{USER_ID}:{USER_ID}:{USER}:/tmp:/bin/sh\n"
PASSWD += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = f"root:x:0:\n{USER}:x:{USER_ID}:\nnogroup:x:65534:\n"
HOSTS = f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost ip6-localhost ip6-loopback\n"
NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n"
NSSWITCH += "protocols: files\nrpc: files\n"
NO_RESOLVER = "nameserver 127.0.0.1\n"  # but for an action with the host's network


def system_entry(path: str, root: str = "") -> list[Operation]:
    """How a top-level directory appears: as itself, read-only, or as its link."""
    return shown(path, root) if os.path.isdir(root + path) else []


def shown_paths(patterns: "Sequence[str]", root: str = "") -> list[str]:
    """The existing paths of these patterns, as they are named inside `root`, sorted. A pattern may
    end in `*`; the `glob` module would double what the helpers import, and so each fork's price."""
    found: set[str] = set()
    for pattern in patterns:
        parent, _, name = pattern.rpartition("/")
        wanted = name.removesuffix("*")
        if wanted == name:
            found |= {pattern} if os.path.lexists(root + pattern) else set()
        elif os.path.isdir(root + parent):
            names = os.listdir(root + parent)
            found |= {f"{parent}/{name}" for name in names if name.startswith(wanted)}
    return sorted(found)


def shown(path: str, root: str = "") -> list[Operation]:
    """A file or directory at its own path, read-only; a symbolic link stays one."""
    if os.path.islink(root + path):
        return [("symlink", path, os.readlink(root + path))]
    return [("system", root + path, path)]


def system(root: str = "") -> list[Operation]:
    """The directories and files that programs live on: the host's, or those of `root`."""
    plan: list[Operation] = []
    for path in SYSTEM:
        plan += system_entry(path, root)
    for path in shown_paths(CONFIGURATION, root):
        plan += shown(path, root)
    return plan


def template(
    read_only: "Sequence[str]" = (),
    root: str = "",
    layers: "Sequence[str]" = (),
    rooted: bool = False,
) -> list[Operation]:
    """The root that all sandboxes start from. `read_only` are further host paths to show; the
    system itself is that of the host, or of the host directory `root`, or all of an image, whose
    layers are host directories, the lowest first; or, when `rooted`, there is none."""
    plan: list[Operation] = [("directory", ROOT_TREE)] if rooted else []
    if not rooted:
        plan += [(LAYERS, *reversed(layers))] if layers else system(root)
        for path in read_only:
            plan += shown(path)
    plan += [
        ("file", "/etc/passwd", PASSWD),
        ("file", "/etc/group", GROUP),
        ("file", "/etc/hosts", HOSTS),
        ("file", "/etc/nsswitch.conf", NSSWITCH),
        ("file", RESOLVER, NO_RESOLVER),
    ]
    plan += [("device", f"/dev/{name}", f"/dev/{name}") for name in DEVICES]
    plan += [("symlink", f"/dev/{name}", target) for name, target in DEVICE_LINKS.items()]
    for path in ("/dev/shm", "/dev/pts", "/proc", "/tmp", "/run", "/var", WORK_TREE, NOTHING):
        plan.append(("directory", path))
    plan += [("symlink", "/var/tmp", "/tmp"), ("symlink", "/var/run", "/run")]
    plan += [("proc", "/proc"), ("seal", "/")]
    return plan


def layers(plan: list[Operation]) -> "Sequence[str]":
    """The image that a template stands on, topmost layer first; empty for a root of parts."""
    return plan[0][1:] if plan[0][0] == LAYERS else ()


def sources(plan: list[Operation]) -> list[str]:
    """The host paths that a plan shows, each once, in order."""
    return list(dict.fromkeys(op[1] for op in plan if op[0] in ("system", "device")))


def own_places(plan: list[Operation]) -> list[str]:
    """Where each sandbox has mounts of its own that hold files."""
    whole = ["/"] if layers(plan) else []
    shown = [op[2] for op in plan if op[0] == "system"]
    return [*whole, *dict.fromkeys(shown), *TEMPORARY, WORK_TREE]


def allowed() -> list[tuple[str, bytes]]:
    """Where an action may write, for Landlock; it may read whatever it sees. The work tree is
    mounted later, so its directory's parent is named."""
    return [
        ("own", os.path.dirname(WORK_TREE).encode()),
        *(("own", place.encode()) for place in TEMPORARY),
        *(("use", place) for place in (b"/dev", b"/proc")),
    ]


def allowed_on_host(read_only: "Sequence[str]", work_tree: str) -> list[tuple[str, bytes]]:
    """What an action may read and write where there are no mounts, for Landlock alone: what it
    would see in a sandbox, and the host's temporary places."""
    shown = shown_paths([*SYSTEM, *CONFIGURATION, RESOLVER, *ACCOUNTS, *read_only])
    shown = [path for path in shown if os.path.exists(path)]  # a link may lead nowhere
    places = [path for path in (*TEMPORARY, "/var/tmp") if os.path.isdir(path)]
    return [
        *(("look", path.encode()) for path in (*shown, "/proc")),  # all of its user's are there
        ("use", b"/dev"),
        *(("own", path.encode()) for path in (*places, work_tree)),
    ]


def sandbox() -> list[Operation]:
    """What each sandbox adds for itself, when its init has mounted its /proc. To be made where a
    /proc can be seen."""
    plan: list[Operation] = [
        ("empty", f"/proc/{n}", NOTHING) for n in PROC_EMPTY if os.path.isdir(f"/proc/{n}")
    ]
    plan += [("mask", f"/proc/{n}") for n in PROC_MASKED if os.path.exists(f"/proc/{n}")]
    plan += [("read-only", f"/proc/{n}") for n in PROC_READ_ONLY if os.path.exists(f"/proc/{n}")]
    return [
        *plan,
        *(("tmpfs", place, "mode=1777") for place in TEMPORARY),
        ("devpts", "/dev/pts"),
        ("hostname", HOST_NAME),
    ]
