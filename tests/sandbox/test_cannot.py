"""What an action cannot do, tried against the real kernel: one sandbox, many attempts.

Each row is a sentence that must hold, the statements that try the opposite (see `attempts.py`),
and the answers of the kernel that are accepted.
"""

# ruff: noqa: ISC004 - long attempts are written over two lines

import functools
import json
import os
import platform
import socket
import tempfile
from pathlib import Path

import pytest
import trio

from builder.sandbox.kernel.seccomp import DENIED
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import PYTHON, READ_ONLY, act

ATTEMPTS = Path(__file__).with_name("attempts.py").read_text()
MACHINE = platform.machine()
REFUSED = ("EPERM", "EACCES", "EROFS", "ENOENT", "ENOTDIR")
READ_ONLY_FS = ("EROFS", "EACCES", "EPERM")
NO_ENTRY = ("EACCES", "EPERM", "ENOENT")
HOST_SECRET = "host-secret-9c1d"

FILES = [
    ("write to /usr", "write('/usr/bin/env')", READ_ONLY_FS),
    ("create in /usr", "os.mkdir('/usr/x')", READ_ONLY_FS),
    ("create in /", "os.mkdir('/x')", READ_ONLY_FS),
    ("create beside the work tree", "os.mkdir('/builder/x')", READ_ONLY_FS),
    ("create in /etc", "os.mkdir('/etc/x')", READ_ONLY_FS),
    ("change /etc/passwd", "os.chmod('/etc/passwd', 0o666)", READ_ONLY_FS),
    ("create in /dev", "os.mkdir('/dev/x')", READ_ONLY_FS),
    ("replace the work tree", "os.rename('/builder/work', '/builder/y')", (*READ_ONLY_FS, "EBUSY")),
    ("chmod a system program", "os.chmod('/usr/bin/env', 0o777)", READ_ONLY_FS),
    ("hard-link a system file out", "os.link('/usr/bin/env', '/tmp/env')", ("EXDEV", "EPERM")),
    ("read /etc/shadow", "read('/etc/shadow')", NO_ENTRY),
    ("read root's home", "os.listdir('/root')", NO_ENTRY),
    ("see homes", "os.listdir('/home')", NO_ENTRY),
    ("see /sys", "os.listdir('/sys')", NO_ENTRY),
    ("see the host's /work or scratch", "os.listdir('@SCRATCH@')", NO_ENTRY),
    ("read the host's secret", "read('@SECRET@')", NO_ENTRY),
    ("reach the host by ..", "os.stat('/builder/work/../../../..@SECRET@')", NO_ENTRY),
    ("follow a link to the host", "os.symlink('@SECRET@', 'l'); read('l')", NO_ENTRY),
    ("make a device", "os.mknod('d', stat.S_IFBLK | 0o666, os.makedev(254, 0))", ("EPERM",)),
    ("make a device in /tmp", "os.mknod('/tmp/d', 0o20666, os.makedev(1, 1))", ("EPERM",)),
    ("see host devices", "say([d for d in os.listdir('/dev') if d.startswith(('vd','sd','mem'))])",
     ("[]",)),
    ("open by handle", "os.open('/proc/self/root/../../../root', 0)", NO_ENTRY),
    ("mark a file for root", "open('s','w').close(); os.chown('s', 0, 0)", ("EINVAL", "EPERM")),
]  # fmt: skip
PROC = [
    ("write core_pattern", "write('/proc/sys/kernel/core_pattern', b'|/x')", READ_ONLY_FS),
    ("write overcommit", "write('/proc/sys/vm/overcommit_memory', b'1')", READ_ONLY_FS),
    ("write sysrq", "write('/proc/sysrq-trigger', b'h')", REFUSED),
    ("read kernel keys", "say(len(read('/proc/keys')))", ("0", *NO_ENTRY)),
    ("read kernel symbols", "say(len(read('/proc/kallsyms')))", ("0", *NO_ENTRY)),
    ("read kernel memory", "say(len(read('/proc/kcore')))", ("0", *NO_ENTRY)),
    ("list init's descriptors", "os.listdir('/proc/1/fd')", NO_ENTRY),
    ("read init's memory", "read('/proc/1/mem')", NO_ENTRY),
    ("read init's environment", "read('/proc/1/environ')", NO_ENTRY),
    ("read init's map", "read('/proc/1/maps')", NO_ENTRY),
    ("enter init's root", "os.listdir('/proc/1/root/')", NO_ENTRY),
    ("enter init's directory", "os.listdir('/proc/1/cwd/')", NO_ENTRY),
    ("write init's oom score", "write('/proc/1/oom_score_adj', b'1000')", NO_ENTRY),
    ("see foreign processes", "say(max(int(p) for p in os.listdir('/proc') if p.isdigit()) < 500)",
     ("True",)),
    ("change its own maps", "write('/proc/self/uid_map', b'0 0 1')", ("EPERM", "EACCES")),
    ("write to a control group", "write('/sys/fs/cgroup/cgroup.procs', b'1')", NO_ENTRY),
]  # fmt: skip
PROCESSES = [
    ("kill init", "os.kill(1, 9); os.kill(1, 0); say('lives')", ("EPERM", "lives")),
    ("stop init", "os.kill(1, 19); os.kill(1, 0); say('lives')", ("EPERM", "lives")),
    ("limit init", "import resource; resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))",
     ("EPERM", "PermissionError(1, 'Operation not permitted')")),
    ("raise its priority", "os.nice(-5)", ("EPERM",)),
    ("become root", "os.setuid(0)", ("EPERM", "EINVAL")),
    ("become another", "os.setresuid(1001, 1001, 1001)", ("EPERM", "EINVAL")),
    ("change its groups", "os.setgroups([0])", ("EPERM",)),
    ("hold a capability", "say([l.split()[1] for l in open('/proc/self/status')"
     " if l[:3] == 'Cap'])",
     ("['" + "', '".join(["0" * 16] * 5) + "']",)),
    ("gain privileges by exec", "say([l.split()[1] for l in open('/proc/self/status')"
     " if l[:5] in ('NoNew', 'Secco')][:2])", ("['1', '2']",)),
    ("be root to a set-uid program", "import subprocess; say(subprocess.run(['/bin/mount',"
     " '-t', 'tmpfs', 'x', '/tmp'], capture_output=True).returncode != 0)", ("True",)),
    ("change root", "os.chroot('/tmp')", ("EPERM",)),
    ("set the host name", "socket.sethostname('x')", ("EPERM",)),
    ("change the mount table", "libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == -1 and"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))", ("EPERM",)),
    ("inject terminal input", "import fcntl, termios; m, s = os.openpty();"
     " fcntl.ioctl(s, termios.TIOCSTI, b'x')", ("EPERM",)),
]  # fmt: skip
NETWORK = [
    ("reach the host's loopback", "s = socket.socket(); s.connect(('127.0.0.1', @PORT@))",
     ("ECONNREFUSED",)),
    ("reach the host's abstract socket", "s = socket.socket(socket.AF_UNIX);"
     " s.connect('\\0@ABSTRACT@')", ("ECONNREFUSED",)),
    ("reach the internet", "s = socket.socket(); s.settimeout(5); s.connect(('192.0.2.1', 80))",
     ("ENETUNREACH",)),
    ("reach the internet by IPv6", "s = socket.socket(socket.AF_INET6);"
     " s.connect(('2001:db8::1', 80))", ("ENETUNREACH", "EAFNOSUPPORT", "EADDRNOTAVAIL")),
    ("see host interfaces", "say([name for _, name in socket.if_nameindex() if name != 'lo'"
     " and not name.startswith(('sit', 'tunl', 'gre', 'erspan', 'ip', 'teql'))])", ("[]",)),
    ("speak to the hypervisor", "socket.socket(40, socket.SOCK_STREAM)", ("EAFNOSUPPORT",)),
    ("read raw packets", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", ("EAFNOSUPPORT",)),
    ("use the kernel's crypto", "socket.socket(38, socket.SOCK_SEQPACKET)", ("EAFNOSUPPORT",)),
    ("send raw IP", "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
     ("EPERM",)),
    ("bring down loopback", "import fcntl; fcntl.ioctl(socket.socket(), 0x8914,"
     " b'lo'.ljust(40, b'\\0'))", ("EPERM",)),
]  # fmt: skip
CLONE = {"x86_64": (56, 435), "aarch64": (220, 435)}[MACHINE]
FLAGS = {
    "user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "network": 0x40000000,
    "ipc": 0x08000000, "uts": 0x04000000, "cgroup": 0x02000000,
}  # fmt: skip
NAMESPACES = [
    (f"clone into a new {name} namespace", f"sys_call({CLONE[0]}, {flag | 17}, 0, 0, 0, 0)",
     ("EPERM",))
    for name, flag in FLAGS.items()
] + [
    ("clone by clone3", f"sys_call({CLONE[1]}, (0x10000000).to_bytes(8, 'little') + bytes(56), 64)",
     ("ENOSYS",)),
]  # fmt: skip
ARCHITECTURE = [
    ("use x32 calls", "sys_call(0x40000000 + 39)", ("ENOSYS",)),
    ("use 32-bit calls", "import mmap; m = mmap.mmap(-1, 4096, prot=7);"
     " m.write(bytes.fromhex('b814000000cd80c3'));"
     " ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
     ("killed by 31",)),
] if MACHINE == "x86_64" else []  # fmt: skip
DENY_LIST = [
    (f"call {name}", f"sys_call({number}, 0, 0, 0, 0, 0, 0)", ("EPERM",))
    for name, number in DENIED[MACHINE].items()
]
TABLE = FILES + PROC + PROCESSES + NETWORK + NAMESPACES + ARCHITECTURE + DENY_LIST
ABSTRACT = f"builder-test-{os.getpid()}"


async def answers(base: Path) -> dict[str, str]:
    secret = base / "secret"
    secret.write_text(HOST_SECRET)
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{ABSTRACT}")
        abstract.listen()
        places = {"@SECRET@": str(secret), "@SCRATCH@": str(base), "@ABSTRACT@": ABSTRACT}
        places["@PORT@"] = str(port.getsockname()[1])
        text = json.dumps({name: code for name, code, _ in TABLE})
        text = functools.reduce(lambda out, key: out.replace(key, places[key]), places, text)
        async with open_sandbox(read_only=READ_ONLY) as sandbox:
            files = {"attempts.py": ATTEMPTS, "table.json": text}
            argv = (PYTHON, "-I", "-S", "attempts.py", "table.json")
            done = await act(sandbox, base, *argv, files=files)
    assert done.exit.exit_code == 0, (done.exit, done.err)
    found: dict[str, str] = json.loads(done.out)
    return found


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="builder-cannot-") as base:
        return trio.run(answers, Path(base))


@pytest.mark.parametrize(("name", "accepted"), [(name, ok) for name, _, ok in TABLE])
def test_an_action_cannot(told: dict[str, str], name: str, accepted: tuple[str, ...]) -> None:
    """The attempt fails, and in the way that says which wall it met."""
    assert told[name] in accepted
