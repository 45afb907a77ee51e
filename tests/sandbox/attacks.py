"""More that must fail, by what a stranger tries who knows the kernel: as `escapes.py`, in the same
sandbox.
"""

# ruff: noqa: ISC004 - long attempts are written over two lines

from tests.sandbox.escapes import MACHINE, NO_ENTRY, READ_ONLY_FS

CALL = {
    "x86_64": {"io_setup": 206, "timerfd": 283, "setrlimit": 160, "ioprio": 251, "mlockall": 151,
               "clock": 230, "sched_setattr": 314, "fchmodat2": 452, "migrate": 256,
               "timer": 222, "vmsplice": 278},
    "aarch64": {"io_setup": 0, "timerfd": 85, "setrlimit": 164, "ioprio": 30, "mlockall": 230,
                "clock": 115, "sched_setattr": 274, "fchmodat2": 452, "migrate": 238,
                "timer": 107, "vmsplice": 75},
}[MACHINE]  # fmt: skip
ON_SYSTEM_FILES = [
    ("write by a second opening of a descriptor", "f = os.open('/etc/passwd', 0);"
     " os.open(f'/proc/self/fd/{f}', os.O_RDWR)", READ_ONLY_FS),
    ("change a mode by a path's descriptor", "f = os.open('/usr/bin/env', os.O_PATH);"
     f" sys_call({CALL['fchmodat2']}, f, b'', 0o777, 0x1000)", (*READ_ONLY_FS, "ENOSYS")),
    ("map a system file to write", "import mmap; mmap.mmap(os.open('/usr/bin/env', 0), 4096,"
     " flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE)", ("EACCES", "EPERM")),
    ("make a nameless file in /usr", "os.open('/usr', os.O_TMPFILE | os.O_RDWR)", READ_ONLY_FS),
    ("make a system file immutable", "import fcntl; fcntl.ioctl(os.open('/usr/bin/env', 0),"
     " 0x40086602, (16).to_bytes(8, 'little'))", (*READ_ONLY_FS, "ENOTTY")),
    ("share a system file's blocks", "import fcntl; fcntl.ioctl(os.open('/usr/bin/env', 0),"
     " 0x40049409, os.open('/usr/bin/id', 0))", (*READ_ONLY_FS, "EBADF", "EXDEV", "ENOTSUP",
     "EINVAL")),
    ("label a system file", "os.setxattr('/usr/bin/env', 'user.x', b'x')", READ_ONLY_FS),
    ("list a system file for root", "os.setxattr('.', 'system.posix_acl_access',"
     " bytes.fromhex('0200000001000700ffffffff0200070000000000'"
     " '04000700ffffffff10000700ffffffff20000000ffffffff'))", ("EINVAL", "ENOTSUP", "EPERM")),
    ("lead the overlay elsewhere", "os.mkdir('r'); os.setxattr('r', 'user.overlay.redirect',"
     " b'/../../etc'); say(os.listdir('r'))", ("[]", "EPERM", "ENOTSUP")),
    ("be the overlay's metadata", "open('m', 'w').close(); os.setxattr('m',"
     " 'user.overlay.metacopy', b''); say(len(read('m')))", ("0", "EPERM", "ENOTSUP")),
    ("change the project of its files", "import fcntl; open('j', 'w').close();"
     " fcntl.ioctl(os.open('j', 0), 0x401C5820, bytes(12) + (7).to_bytes(4, 'little')"
     " + bytes(12))", ("EINVAL", "EPERM", "ENOTTY", "ENOTSUP")),
]  # fmt: skip
KERNEL_MODULES = [
    ("have a bridge's module loaded", "import fcntl; fcntl.ioctl(socket.socket(), 0x8940,"
     " bytes(24))", ("EPERM",)),
    ("make a bridge", "import fcntl; fcntl.ioctl(socket.socket(), 0x89A0, b'b'.ljust(16, b'\\0'))",
     ("EPERM",)),
    ("have a VLAN's module loaded", "import fcntl; fcntl.ioctl(socket.socket(), 0x8982,"
     " bytes(64))", ("EPERM",)),
    ("have DCCP loaded by its type", "socket.socket(2, 6, 0)", ("ESOCKTNOSUPPORT",)),
    ("have SCTP loaded by its type", "socket.socket(10, 5, 0)", ("ESOCKTNOSUPPORT",)),
    ("have a kind of sockets loaded for a pair", "socket.socketpair(2, 6, 0)",
     ("ESOCKTNOSUPPORT",)),
    ("have a protocol loaded on top of TCP", "socket.socket().setsockopt(6, 31, b'smc')",
     ("ENOENT", "EPERM", "ENOTCONN")),
    ("have a congestion control loaded", "socket.socket().setsockopt(6, 13, b'lp')",
     ("ENOENT", "EPERM")),
    ("see the packet filter's tables", "socket.socket(2, 3, 255)", ("EPERM",
     "EPROTONOSUPPORT")),
]  # fmt: skip
OF_THE_HOST = [
    ("take the host's asynchronous requests", f"sys_call({CALL['io_setup']}, 1 << 15, bytes(8))",
     ("ENOSYS",)),
    ("wake the machine up by an alarm", f"sys_call({CALL['timerfd']}, 8, 0)", ("EPERM",)),
    ("wake the machine up by a timer", f"sys_call({CALL['timer']}, 9, 0, bytes(8))",
     ("EPERM", "ENOTSUP")),
    ("have the disk first", f"sys_call({CALL['ioprio']}, 1, 0, 1 << 13)", ("EPERM",)),
    ("have a deadline", "attributes = (48).to_bytes(4, 'little') + (6).to_bytes(4, 'little')"
     " + bytes(16) + b''.join(n.to_bytes(8, 'little') for n in (10**6, 10**7, 10**7));"
     f" sys_call({CALL['sched_setattr']}, 0, attributes, 0)", ("EPERM",)),
    ("keep all of its memory", f"sys_call({CALL['mlockall']}, 3)", ("ENOMEM", "EPERM")),
    ("be a flusher of the kernel's", "libc.prctl(57, 1, 0, 0, 0) == 0 or"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))", ("EPERM",)),
    ("rewrite its own map", "libc.prctl(35, 1, 4096, 0, 0) == 0 or"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))", ("EPERM", "EINVAL")),
    ("keep capabilities by its bits", "libc.prctl(28, 63, 0, 0, 0) == 0 or"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))", ("EPERM",)),
    ("move init's memory to another node", f"sys_call({CALL['migrate']}, 1, 64, bytes(8),"
     " bytes(8))", ("EPERM", "ENOSYS", "EINVAL", "EACCES")),
    ("hang a terminal up", "import fcntl; m, s = os.openpty(); fcntl.ioctl(s, 0x5437)",
     ("EPERM",)),
    ("reseed the kernel's chance", "import fcntl; fcntl.ioctl(os.open('/dev/urandom', os.O_RDWR),"
     " 0x5207)", ("EPERM",)),
    ("have the biggest of pipes", "import fcntl; r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 24)",
     ("EPERM",)),
    ("repair a connection", "socket.socket().setsockopt(6, 19, 1)", ("EPERM",)),
    ("force a buffer's size", "socket.socket().setsockopt(1, 33, 1 << 28)", ("EPERM",)),
    ("pin memory that all of its user's share", "socket.socket().setsockopt(1, 60, 1)",
     ("ENOPROTOOPT",)),
    ("have its packets first", "socket.socket().setsockopt(1, 12, 7)", ("EPERM",)),
    ("allow groups to be set", "write('/proc/self/setgroups', b'allow')", NO_ENTRY),
    ("be another in the security module's eyes", "write('/proc/1/attr/current', b'unconfined')",
     (*NO_ENTRY, "EINVAL")),
    ("see init's pages", "read('/proc/1/pagemap')", NO_ENTRY),
    ("see the physical memory's pages", "say(len(read('/proc/kpagecount')))",
     ("0", *NO_ENTRY)),
    ("write to the kernel's trace", "write('/sys/kernel/tracing/trace_marker', b'x')", NO_ENTRY),
    ("run the host's collector of cores", "import resource;"
     " resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
     f" sys_call({CALL['setrlimit']}, 4, bytes(16));"
     " say(resource.getrlimit(resource.RLIMIT_CORE))", ("(1, 1)",)),
]  # fmt: skip
ATTACKS = [*ON_SYSTEM_FILES, *KERNEL_MODULES, *OF_THE_HOST]
