"""The escapes that are tried: (sentence that must not become true, statements, accepted answers).

Statements run inside the sandbox, as `attempts.py` says. `@SECRET@`, `@SCRATCH@`, `@SOCKET@`,
`@ABSTRACT@`, `@PORT@` and `@BROKER@` are things of the host that are there and must be out of
reach. The answers are those that tell which wall was met: an errno, or what was seen.
"""

# ruff: noqa: ISC004 - long attempts are written over two lines

import platform

from builder.sandbox.kernel.seccomp import DENIED

MACHINE = platform.machine()
REFUSED = ("EPERM", "EACCES", "EROFS", "ENOENT", "ENOTDIR")
READ_ONLY_FS = ("EROFS", "EACCES", "EPERM")
NO_ENTRY = ("EACCES", "EPERM", "ENOENT")
HOST_SECRET = "host-secret-9c1d"
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}[MACHINE]

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
    ("hard-link a system file out", "os.link('/usr/bin/env', '/tmp/env')", ("EXDEV", *NO_ENTRY)),
    ("read /etc/shadow", "read('/etc/shadow')", NO_ENTRY),
    ("read root's home", "os.listdir('/root')", NO_ENTRY),
    ("see homes", "os.listdir('/home')", NO_ENTRY),
    ("see /sys", "os.listdir('/sys')", NO_ENTRY),
    ("see the host's /work or scratch", "os.listdir('@SCRATCH@')", NO_ENTRY),
    ("read the host's secret", "read('@SECRET@')", NO_ENTRY),
    ("reach the host by ..", "os.stat('/builder/work/../../../..@SECRET@')", NO_ENTRY),
    ("follow a link to the host", "os.symlink('@SECRET@', 'l'); read('l')", NO_ENTRY),
    ("make a device", "os.mknod('d', stat.S_IFBLK | 0o666, os.makedev(254, 0))", NO_ENTRY),
    ("make a device in /tmp", "os.mknod('/tmp/d', 0o20666, os.makedev(1, 1))", NO_ENTRY),
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
MORE_FILES = [
    ("reach the host through /proc's root", "read('/proc/self/root/../../@SECRET@')", NO_ENTRY),
    ("reach the host through a thread's root", "read('/proc/thread-self/root@SECRET@')", NO_ENTRY),
    ("reach the host from its directory", "read('/proc/self/cwd/../../../..@SECRET@')", NO_ENTRY),
    ("climb out of a descriptor of the root", "f = os.open('/', os.O_RDONLY);"
     " read_at(f, '../../..@SECRET@')", NO_ENTRY),
    ("climb out of the work tree's descriptor", "f = os.open('/builder/work', os.O_RDONLY);"
     " os.fchdir(f); read('../../../../../..@SECRET@')", NO_ENTRY),
    ("find a foreign descriptor", "say([t for t in descriptors()"
     " if not t.startswith(('pipe:', '/dev/null', '/proc/', '/builder/work'))])", ("[]",)),
    ("find a directory's descriptor", "say([t for t in descriptors() if os.path.isdir(t)"
     " and not t.startswith('/proc/')])", ("[]",)),
    ("replace its interpreter", "write('/proc/self/exe')", (*READ_ONLY_FS, "ETXTBSY")),
    ("replace init's program", "write('/proc/1/exe')", NO_ENTRY),
    ("give a file a capability", "open('c', 'w').close();"
     " os.setxattr('c', 'security.capability', bytes(20))", ("EPERM", "EINVAL")),
    ("speak to the overlay", "open('t', 'w').close();"
     " os.setxattr('t', 'trusted.overlay.opaque', b'y')", ("EPERM",)),
    ("exchange its tree with the system's", "os.mkdir('e'); os.rename('e', '/usr/e')",
     (*READ_ONLY_FS, "EXDEV")),
    ("set the time of a system file", "os.utime('/usr/bin/env')", READ_ONLY_FS),
    ("truncate a system file", "os.truncate('/etc/passwd', 0)", READ_ONLY_FS),
    ("remove a system file", "os.unlink('/usr/bin/env')", READ_ONLY_FS),
    ("remove a device", "os.unlink('/dev/null')", (*READ_ONLY_FS, "EBUSY")),
    ("put a link into /", "os.symlink('/tmp', '/l')", READ_ONLY_FS),
    ("make a socket in /run", "socket.socket(socket.AF_UNIX).bind('/run/s')", READ_ONLY_FS),
    ("read kernel messages", "read('/dev/kmsg')", NO_ENTRY),
    ("read memory", "read('/dev/mem')", NO_ENTRY),
    ("read ports", "read('/dev/port')", NO_ENTRY),
    ("use the hypervisor's device", "read('/dev/kvm')", NO_ENTRY),
    ("use FUSE", "read('/dev/fuse')", NO_ENTRY),
    ("use a tunnel", "read('/dev/net/tun')", NO_ENTRY),
    ("read a terminal", "read('/dev/tty')", (*NO_ENTRY, "ENXIO")),
    ("read a foreign pseudo-terminal", "say(sorted(os.listdir('/dev/pts')))", ("['ptmx']",)),
    ("race a link against a look", "say(race('@SECRET@'))", ("not once",)),
    ("find files of an earlier action", "say(os.listdir('/tmp') + os.listdir('/dev/shm'))",
     ("[]",)),
    ("see the host's mounts", "say([l for l in open('/proc/self/mountinfo')"
     " if '@SCRATCH@' in l])", ("[]",)),
]  # fmt: skip
MORE_PROC = [
    ("write init's name", "write('/proc/1/comm')", (*NO_ENTRY, "EINVAL")),
    ("see init's open files", "os.readlink('/proc/1/fd/0')", NO_ENTRY),
    ("see what init calls", "read('/proc/1/syscall')", NO_ENTRY),
    ("see init's stack", "read('/proc/1/stack')", NO_ENTRY),
    ("see init's files' state", "read('/proc/1/fdinfo/0')", NO_ENTRY),
    ("see init's namespaces", "os.readlink('/proc/1/ns/mnt')", NO_ENTRY),
    ("map init's ids anew", "write('/proc/1/uid_map', b'0 0 1')", NO_ENTRY),
    ("see init's timers", "say(len(read('/proc/1/timers')))", ("0", *NO_ENTRY)),
    ("see the names of control groups", "say([l for l in open('/proc/self/cgroup')"
     " if not l.endswith(':/\\n')])", ("[]",)),
    ("drop the kernel's caches", "write('/proc/sys/vm/drop_caches', b'3')", READ_ONLY_FS),
    ("allow more user namespaces", "write('/proc/sys/user/max_user_namespaces', b'9')",
     READ_ONLY_FS),
    ("turn randomisation off", "write('/proc/sys/kernel/randomize_va_space', b'0')", READ_ONLY_FS),
    ("load a module by name", "write('/proc/sys/kernel/modprobe', b'/tmp/x')", REFUSED),
    ("register a binary format", "write('/proc/sys/fs/binfmt_misc/register', b':x:')", REFUSED),
    ("forward packets", "write('/proc/sys/net/ipv4/ip_forward', b'1')", READ_ONLY_FS),
    ("steer an interrupt", "write('/proc/irq/default_smp_affinity', b'1')", REFUSED),
    ("see slabs", "say(len(read('/proc/slabinfo')))", ("0", *NO_ENTRY)),
    ("see timers of all", "say(len(read('/proc/timer_list')))", ("0", *NO_ENTRY)),
    ("see shared memory of others", "say(len(open('/proc/sysvipc/shm').readlines()))", ("1",)),
    ("see message queues of others", "say(len(open('/proc/sysvipc/msg').readlines()))", ("1",)),
    ("see sockets of others", "say(len(open('/proc/net/unix').readlines()))", ("1",)),
]  # fmt: skip
MORE_PROCESSES = [
    ("signal the broker", "os.kill(@BROKER@, 0)", ("ESRCH",)),
    ("kill init by its descriptor", "sys_call(424, os.pidfd_open(1), 9, 0, 0);"
     " os.kill(1, 0); say('lives')", ("EPERM", "lives")),
    ("queue a signal to init", "import signal; signal.pidfd_send_signal(os.pidfd_open(1), 15);"
     " os.kill(1, 0); say('lives')", ("EPERM", "lives")),
    ("slow init down", "os.setpriority(os.PRIO_PROCESS, 1, 19)", ("EPERM", "EACCES")),
    ("slow all of its user down", "os.setpriority(os.PRIO_USER, 0, 19)", ("EPERM", "EACCES")),
    ("slow init's disk down", f"sys_call({IOPRIO_SET}, 1, 1, 3 << 13)", ("EPERM",)),
    ("slow the disk of its user down", f"sys_call({IOPRIO_SET}, 3, 1000, 3 << 13)", ("EPERM",)),
    ("run in real time", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", ("EPERM",)),
    ("join init's session", "os.setpgid(0, 1)", ("EPERM", "EACCES")),
    ("dump a core", "import resource; resource.setrlimit(resource.RLIMIT_CORE, (9, 9));"
     " say(resource.getrlimit(resource.RLIMIT_CORE))", ("(1, 1)",)),
    ("open more files than it may", "import resource;"
     " resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))",
     ("EPERM", "ValueError('not allowed to raise maximum limit')")),
    ("lock much memory", "import mmap; m = mmap.mmap(-1, 1 << 26);"
     " libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m))),"
     " ctypes.c_size_t(1 << 26)) and (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))",
     ("ENOMEM", "EPERM")),
    ("allow new privileges", "libc.prctl(38, 0, 0, 0, 0) and"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))", ("EINVAL",)),
    ("raise an ambient capability", "libc.prctl(47, 2, 21, 0, 0) and"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))", ("EPERM",)),
    ("loosen the filter", "libc.prctl(22, 0, 0, 0, 0) and"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))", ("EINVAL", "EPERM")),
    ("gain by a set-uid program of its own", "import shutil, subprocess;"
     " shutil.copy('/usr/bin/id', 'id'); os.chmod('id', 0o6755);"
     " say(subprocess.run(['./id', '-u'], capture_output=True, text=True).stdout.strip())",
     ("1000",)),
    ("have a second user", "say(len(set(os.getresuid() + os.getresgid())))", ("1",)),
    ("take another's user in a message", "a, b = socket.socketpair(); a.sendmsg([b'x'],"
     " [(1, 2, (1).to_bytes(4, 'little') + bytes(8))])", ("EPERM", "EINVAL")),
]  # fmt: skip
MORE_NETWORK = [
    ("reach a socket of the host's files", "s = socket.socket(socket.AF_UNIX);"
     " s.connect('@SOCKET@')", NO_ENTRY),
    ("take a low port", "socket.socket().bind(('127.0.0.1', 80))", ("EACCES",)),
    ("mark its packets", "socket.socket().setsockopt(socket.SOL_SOCKET, 36, 1)", ("EPERM",)),
    ("be transparent", "socket.socket().setsockopt(0, 19, 1)", ("EPERM",)),
    ("change the packet filter", "socket.socket().setsockopt(0, 64, bytes(96))",
     ("EPERM", "ENOPROTOOPT")),
    ("listen to process events", "s = socket.socket(16, socket.SOCK_DGRAM, 11);"
     " s.bind((0, 1)); s.connect((0, 0)); s.send((16).to_bytes(4, 'little') + bytes(12))",
     ("EPERM", "EPROTONOSUPPORT", "ECONNREFUSED")),
    ("listen to the audit log", "s = socket.socket(16, socket.SOCK_RAW, 9); s.bind((0, 1))",
     ("EPERM", "EPROTONOSUPPORT")),
    ("add an address by netlink", "say(netlink(20, bytes((2, 8, 0, 0, 1, 0, 0, 0, 8, 0, 2, 0,"
     " 10, 0, 0, 1))))", ("EPERM",)),
    ("make an interface by netlink", "say(netlink(16, bytes(16)))", ("EPERM",)),
    ("add a route by netlink", "say(netlink(24, bytes((2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0))))",
     ("EPERM",)),
    ("speak Bluetooth", "socket.socket(31, socket.SOCK_RAW, 1)", ("EAFNOSUPPORT",)),
    ("speak CAN", "socket.socket(29, socket.SOCK_RAW, 1)", ("EAFNOSUPPORT",)),
    ("speak XDP", "socket.socket(44, socket.SOCK_RAW, 0)", ("EAFNOSUPPORT",)),
    ("speak TIPC", "socket.socket(30, socket.SOCK_RAW, 0)", ("EAFNOSUPPORT",)),
    ("make a pair of a foreign family", "socket.socketpair(40, socket.SOCK_STREAM)",
     ("EAFNOSUPPORT",)),
]  # fmt: skip
OTHERS = [
    ("have a driver loaded as a line discipline", "import fcntl; m, s = os.openpty();"
     " fcntl.ioctl(s, 0x5423, (21).to_bytes(4, 'little'))", ("EPERM",)),
    ("take the console's messages", "import fcntl; m, s = os.openpty();"
     " fcntl.ioctl(s, 0x541D, 0)", ("EPERM",)),
    ("hide a file by a whiteout of its own", "os.mknod('w', 0o20000, 0)", NO_ENTRY),
    ("touch the host's device", "os.utime('/dev/null')", READ_ONLY_FS),
    ("read how the host was started", "say(len(read('/proc/cmdline')))", ("0", *NO_ENTRY)),
    ("listen to the host's devices", "socket.socket(16, socket.SOCK_RAW, 15)",
     ("EPROTONOSUPPORT",)),
    ("speak to the packet filter", "socket.socket(16, socket.SOCK_RAW, 12)",
     ("EPROTONOSUPPORT",)),
    ("see sockets by netlink", "socket.socket(16, socket.SOCK_RAW, 4)", ("EPROTONOSUPPORT",)),
    ("freeze the file system", "import fcntl; fcntl.ioctl(os.open('.', 0), 0xC0045877, 0)",
     ("EPERM", "ENOTTY", "ENOTSUP")),
    ("make a file that nobody can remove", "import fcntl; open('i', 'w').close();"
     " fcntl.ioctl(os.open('i', 0), 0x40086602, (16).to_bytes(8, 'little'))",
     ("EPERM", "ENOTTY")),
    ("lease a system file", "import fcntl; fcntl.fcntl(os.open('/usr/bin/env', 0), 1024, 0)",
     ("EPERM",)),
    ("open init's program by path only", "os.open('/proc/1/exe', os.O_PATH)", NO_ENTRY),
    ("open init's directory by path only", "os.open('/proc/1/cwd', os.O_PATH)", NO_ENTRY),
    ("map a file through /proc", "os.open('/proc/self/map_files/'"
     " + os.listdir('/proc/self/map_files')[0], os.O_RDWR)", ("EPERM", *NO_ENTRY)),
    ("be the last to die for memory", "write('/proc/self/oom_score_adj', b'-1000')", ("EACCES",)),
    ("keep init's core", "write('/proc/1/coredump_filter', b'0')", NO_ENTRY),
    ("shift init's timers", "write('/proc/1/timerslack_ns', b'0')", NO_ENTRY),
    ("shift its own clock", "write('/proc/self/timens_offsets', b'monotonic 100 0')", NO_ENTRY),
    ("find init's user namespace", "import fcntl; fcntl.ioctl(os.pidfd_open(1), 0xFF08)",
     (*NO_ENTRY, "ENOTTY")),
    ("find the parent's user namespace", "import fcntl;"
     " fcntl.ioctl(os.open('/proc/self/ns/user', 0), 0xB702)", ("EPERM",)),
    ("move init's pages", "sys_call(279, 1, 0, 0, 0, 0, 0)", ("EPERM", "ENOSYS", "EACCES"))
    if MACHINE == "x86_64" else
    ("move init's pages", "sys_call(239, 1, 0, 0, 0, 0, 0)", ("EPERM", "ENOSYS", "EACCES")),
    ("add to the kernel's chance", "import fcntl;"
     " fcntl.ioctl(os.open('/dev/urandom', os.O_RDWR), 0x40085203, bytes(16))", ("EPERM",)),
    ("load a filter into a socket", "socket.socket().setsockopt(1, 50, bytes(4))",
     ("EPERM", "EINVAL", "EBADF")),
    ("write to release_agent", "write('/sys/fs/cgroup/memory/release_agent')", NO_ENTRY),
    ("use userfaultfd's device", "os.open('/dev/userfaultfd', os.O_RDWR)", NO_ENTRY),
    ("use io_uring's work", "sys_call(426, 0, 1, 0, 0, 0, 0)", ("EPERM",)),
    ("use another action's queue", "say(os.path.exists('/dev/mqueue'))", ("False",)),
    ("find a foreign segment", "libc.shmget.restype = ctypes.c_int;"
     " say(libc.shmget(0x77777777, 0, 0))", ("-1",)),
    ("take more memory in huge pages", "import mmap; mmap.mmap(-1, 1 << 21, flags=0x40022)",
     ("ENOMEM", "EINVAL", "ENOSYS")),
]  # fmt: skip
HIDDEN = ("interrupts", "softirqs", "diskstats", "partitions", "locks")
WHAT_OTHERS_DO = [
    *((f"see the host's {name}", f"say(len(read('/proc/{name}')))", ("0", *NO_ENTRY))
      for name in HIDDEN),
    ("feel the host's load", "say(os.listdir('/proc/pressure'))", ("[]", *NO_ENTRY)),
    ("see where the worker stands", "say(b'/' in read('/proc/1/cmdline'))", ("False",)),
    ("see init's arguments in its status", "say('/' in open('/proc/1/stat').read())", ("False",)),
    ("see init's memory map", "read('/proc/1/smaps')", NO_ENTRY),
    ("see init's auxiliary vector", "read('/proc/1/auxv')", NO_ENTRY),
    ("see what init reads and writes", "read('/proc/1/io')", NO_ENTRY),
    ("see init's threads' files", "os.listdir('/proc/1/task/1/fd')", NO_ENTRY),
    ("reset init's scheduling", "write('/proc/1/sched', b'0')", NO_ENTRY),
    ("move init's autogroup", "write('/proc/1/autogroup', b'19')", (*NO_ENTRY, "EINVAL")),
    ("clear init's pages", "write('/proc/1/clear_refs', b'1')", NO_ENTRY),
    ("map init's projects", "write('/proc/1/projid_map', b'0 0 1')", NO_ENTRY),
    ("be another in the audit log", "write('/proc/self/loginuid', b'0')",
     ("EINVAL", "EPERM", *NO_ENTRY)),
]  # fmt: skip
KERNEL_CORNERS = [
    ("find the parent of its process namespace", "import fcntl;"
     " fcntl.ioctl(os.open('/proc/self/ns/pid', 0), 0xB702)", ("EPERM",)),
    ("walk to the next mount namespace", "import fcntl;"
     " fcntl.ioctl(os.open('/proc/self/ns/mnt', 0), 0x8010B70B, bytes(64))",
     ("EPERM", "ENOTTY", "OverflowError('signed integer is greater than maximum')")),
    ("take init's namespaces by its descriptor", "import fcntl;"
     " fcntl.ioctl(os.pidfd_open(1), 0xFF03)", (*NO_ENTRY, "ENOTTY")),
    ("end init's group", "sys_call(424, os.pidfd_open(1), 9, 0, 4)", ("ESRCH", "EINVAL", "EPERM")),
    ("have a descriptor of init's", "sys_call(438, os.pidfd_open(1), 0, 0)", ("EPERM",)),
    ("change an input's security label", "sys_call(463, -100, b'/usr/bin/env', 0, b'user.x',"
     " bytes(16), 16)", (*READ_ONLY_FS, "ENOSYS")),
    ("see the cache of a system file", "f = os.open('/usr/bin/env', 0);"
     " sys_call(451, f, bytes(16), bytes(64), 0)", ("EPERM", "ENOSYS")),
    ("carry a file out by its descriptor", "f = os.open('/tmp', os.O_TMPFILE | os.O_RDWR);"
     " os.link(f'/proc/self/fd/{f}', '/builder/work/x', follow_symlinks=True)",
     ("EXDEV", *NO_ENTRY)),
    ("attach a BPF program to a socket", "socket.socket().setsockopt(1, 26, bytes(16))",
     ("EPERM", "EINVAL", "EFAULT")),
    ("speak SMC", "socket.socket(43, socket.SOCK_STREAM, 0)", ("EAFNOSUPPORT",)),
    ("tunnel by L2TP", "socket.socket(2, 2, 115)", ("EPROTONOSUPPORT",)),
    ("have SCTP loaded", "socket.socket(10, 1, 132)", ("EPROTONOSUPPORT",)),
    ("have DCCP loaded", "socket.socket(2, 6, 33)", ("ESOCKTNOSUPPORT",)),
    ("take a terminal by force", "import fcntl; m, s = os.openpty(); fcntl.ioctl(s, 0x540E, 1)",
     ("EPERM",)),
    ("switch the console", "import fcntl; fcntl.ioctl(os.open('/dev/ptmx', os.O_RDWR), 0x5606, 1)",
     ("ENOTTY", "EPERM")),
    ("send a queued signal to init", "sys_call(129, 1, 9, bytes(128))"
     if MACHINE == "x86_64" else "sys_call(138, 1, 9, bytes(128))", ("EPERM",)),
    ("kill init's thread", "sys_call(234, 1, 1, 9); os.kill(1, 0); say('lives')"
     if MACHINE == "x86_64" else "sys_call(131, 1, 1, 9); os.kill(1, 0); say('lives')",
     ("EPERM", "lives")),
    ("share a core's secrets with init", "libc.prctl(62, 2, 1, 0, 0) == 0 or"
     " (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))",
     ("EINVAL", "EPERM", "ENODEV", "ESRCH")),
    ("have others wait for a file by a lease", "import fcntl;"
     " fcntl.fcntl(os.open('/etc/passwd', 0), 1024, 1)", ("EPERM",)),
    ("have others wait for a program by a lease", "import fcntl;"
     " fcntl.fcntl(os.open('/usr/bin/id', 0), 1024, 0)", ("EPERM",)),
    ("delete its own supervisor's world", "os.rmdir('/builder')", (*READ_ONLY_FS, "EBUSY")),
]  # fmt: skip
ESCAPES = [
    *WHAT_OTHERS_DO,
    *KERNEL_CORNERS,
    *OTHERS,
    *(FILES + MORE_FILES + PROC + MORE_PROC + PROCESSES + MORE_PROCESSES),
    *(NETWORK + MORE_NETWORK + NAMESPACES + ARCHITECTURE + DENY_LIST),
]
