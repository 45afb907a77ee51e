"""What the kernel itself asks for a sandbox: /bin/true in new namespaces, mounts and groups, by C.

One process for each action, born by clone(2) as a vfork is, so nothing is copied: it enters
groups made for it, raises its loopback, mounts an overlay, /proc, /dev/shm and /tmp for itself,
gives up its privileges and becomes the program. There is no pool, no init, no limit, no filter
and no report in it, so nothing that does all of that can be faster than this without making
sandboxes ahead; and nothing that makes as many can make more of them.
"""

import os
import shutil
import statistics
import subprocess
from pathlib import Path

from builder.host.cgroups import own_places

CONTROLLERS = {"memory", "pids"}
PARALLEL = 2
SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char stack[1 << 16] __attribute__((aligned(16)));
static char layers[4096], groups[8][4096];
static int count, entrances[8], uid, gid;

static void must(int result, const char *what) {
  if (result < 0) { perror(what); _exit(2); }
}

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  must(fd, path);
  must(write(fd, text, strlen(text)), path);
  close(fd);
}

static int inside(void *unused) {
  for (int i = 0; i < count; i++) must(write(entrances[i], "0", 1), "enter a group");
  if (uid) {
    char map[64];
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "1000 %d 1", uid);
    put("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "1000 %d 1", gid);
    put("/proc/self/gid_map", map);
  }
  struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  must(ioctl(sock, SIOCSIFFLAGS, &lo), "loopback");
  must(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private");
  must(mount("overlay", "/mnt", "overlay", MS_NOSUID | MS_NODEV, layers), "overlay");
  must(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), "proc");
  must(mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, 0), "shm");
  must(mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, 0), "tmp");
  must(sethostname("floor", 5), "host name");
  must(chdir("/mnt"), "work tree");
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
  if (!uid) must(setresuid(60999, 60999, 60999), "another user");
  execl("/bin/true", "true", (char *)0);
  _exit(127);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) { /* times, inputs, scratch, group... */
  int times = atoi(argv[1]), flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  flags |= CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
  flags |= CLONE_NEWCGROUP;
  uid = getuid(), gid = getgid(), count = argc - 4;
  if (uid) flags |= CLONE_NEWUSER;
  for (int n = 0; n < times; n++) {
    char upper[2048], work[2048];
    double started = now();
    for (int i = 0; i < count; i++) {
      char path[4200];
      snprintf(groups[i], sizeof groups[i], "%s/floor-%d-%d", argv[4 + i], getpid(), n);
      must(mkdir(groups[i], 0755), groups[i]);
      snprintf(path, sizeof path, "%s/cgroup.procs", groups[i]);
      must(entrances[i] = open(path, O_WRONLY | O_CLOEXEC), path);
    }
    snprintf(upper, sizeof upper, "%s/%d-%d-upper", argv[3], getpid(), n);
    snprintf(work, sizeof work, "%s/%d-%d-work", argv[3], getpid(), n);
    must(mkdir(upper, 0755), upper);
    must(mkdir(work, 0700), work);
    snprintf(layers, sizeof layers, "lowerdir=%s,upperdir=%s,workdir=%s,volatile%s",
             argv[2], upper, work, uid ? ",userxattr" : "");
    int status, child = clone(inside, stack + sizeof stack, flags, 0);
    must(child, "clone");
    must(waitpid(child, &status, 0), "wait");
    printf("%.9f\n", now() - started);
    if (status) return 1;
    for (int i = 0; i < count; i++) {
      close(entrances[i]);
      while (rmdir(groups[i]) < 0 && errno == EBUSY) usleep(100);
    }
  }
  return 0;
}
"""


class Floor:
    """The compiled program. Where there is no compiler, or the kernel lets it not, it says so and
    has no figures."""

    def __init__(self, base: Path) -> None:
        base.mkdir()
        places = own_places() if os.getuid() == 0 else []
        groups = [place.path for place in places if CONTROLLERS.intersection(place.controllers)]
        for name in ("inputs", "scratch"):
            (base / name).mkdir()
        self._program, self._base = base / "floor", base
        self._rest = [str(base / "inputs"), str(base / "scratch"), *groups]
        self._samples: list[float] = []
        self._per_second = 0.0
        self._is_there = self._compiled() and bool(self._took(1))

    def _compiled(self) -> bool:
        compiler = shutil.which("cc")
        if compiler is None:
            return False
        source = self._base / "floor.c"
        source.write_text(SOURCE)
        subprocess.run([compiler, "-O1", "-o", self._program, source], check=True)
        return True

    def one(self) -> None:
        """One more sample."""
        if self._is_there:
            self._samples += self._took(1)

    def sustain(self, times: int) -> None:
        """How many two of them make together."""
        if self._is_there:
            both = [self._started(times) for _ in range(PARALLEL)]
            took = [sum(map(float, one.communicate()[0].split())) for one in both]
            self._per_second = round(PARALLEL * times / max(took), 1)

    def _took(self, times: int) -> list[float]:
        """Seconds, of each; nothing when it failed."""
        running = self._started(times)
        out, _ = running.communicate()
        return [float(line) for line in out.split()] if running.returncode == 0 else []

    def _started(self, times: int) -> "subprocess.Popen[str]":
        argv = [str(self._program), str(times), *self._rest]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def figures(self) -> dict[str, float]:
        if not self._samples:
            return {}
        middle = round(statistics.median(self._samples) * 1000, 3)
        return {"floor_ms_p50": middle, "floor_per_second": self._per_second}
