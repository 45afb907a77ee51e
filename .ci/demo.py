"""Build the example through the zipapp, on a service with a local pool, twice; then stop it all.

`python3 .ci/demo.py dist/builder.pyz`, which is what `python3 build_zipapp.py --demo` does.
The service listens on ephemeral ports and keeps its state in a temporary folder.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "remote-execution"
CONFIG = "role: all\nstore: {{path: {0}/store}}\nworker: {{scratch: {0}/worker}}\n"
FLAGS = "--coordinator 127.0.0.1:0 --reapi 0 --metrics :0 --workers-min 2"
TARGETS = ["cpp_project", "test", "parallel"]
ACTIONS = 7
READY = "Remote execution service ready"


def say(text: str) -> None:
    print(text, flush=True)


class Demo:
    """One service, and what it said so far."""

    def __init__(self, zipapp: Path, folder: Path) -> None:
        self.zipapp = zipapp
        self.folder = folder
        self.project = folder / EXAMPLE.name
        self.lines: list[str] = []
        self.ready = threading.Event()

    def start(self) -> "subprocess.Popen[str]":
        config = self.folder / "builder.yaml"
        config.write_text(CONFIG.format(self.folder))
        argv = [sys.executable, str(self.zipapp), "--config", str(config), "serve", *FLAGS.split()]
        service = subprocess.Popen(
            argv,
            env={**os.environ, "BUILDER_LOG_FORMAT": "human"},  # what it announces is enough
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        threading.Thread(target=self.follow, args=(service,), daemon=True).start()
        self.ready.wait(60)
        if not any(READY in line for line in self.lines):
            service.kill()
            sys.exit("error: the service did not start; it said:\n" + "\n".join(self.lines))
        return service

    def follow(self, service: "subprocess.Popen[str]") -> None:
        assert service.stdout
        for line in service.stdout:
            say("    " + line.rstrip())
            self.lines.append(line.rstrip())
            if READY in line:
                self.ready.set()
        self.ready.set()

    def coordinator(self) -> str:
        found = re.search(r"Coordinator: (\S+)", "\n".join(self.lines))
        assert found
        return found[1]

    def bldr(self, *arguments: str) -> str:
        """Run a command of the zipapp in the project, shown as it is typed; its output."""
        say(f"\n$ bldr {' '.join(arguments)}")
        argv = [sys.executable, str(self.zipapp), *arguments, "--coordinator", self.coordinator()]
        done = subprocess.run(
            argv, cwd=self.project, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        for line in (done.stdout + done.stderr).splitlines():
            say("    " + line)
        if done.returncode != 0:
            sys.exit(f"error: exit code {done.returncode}")
        return done.stdout

    def run(self) -> None:
        say("\n$ builder serve " + FLAGS)
        service = self.start()
        try:
            first = self.bldr("build", *TARGETS, "--remote")
            if first.count("Executing on worker-") != ACTIONS:
                sys.exit(f"error: the first build did not run {ACTIONS} actions on workers")
            say("\n$ rm -r build .builder")  # what it then knows, it knows from the service
            for name in ("build", ".builder"):
                shutil.rmtree(self.project / name)
            second = self.bldr("build", *TARGETS, "--remote")
            if second.count("Cache hit: ") != ACTIONS:
                sys.exit("error: the second build was not served from the cache")
            self.bldr("remote", "status")
            say("\n$ ./build/cpp_project")
            subprocess.run([self.project / "build" / "cpp_project"], check=True)
        finally:
            say("\nstopping the service")
            service.send_signal(signal.SIGTERM)
            code = service.wait(60)
        if code != 0:
            sys.exit(f"error: the service ended with exit code {code}")
        say("\ndemo: built remotely, then served from the cache; everything is stopped")


def main() -> int:
    if shutil.which("g++") is None:
        sys.exit("error: the example is C++ and needs g++: as root, apt-get install g++")
    with tempfile.TemporaryDirectory(prefix="builder-demo-") as name:
        folder = Path(name)
        os.environ.update(HOME=name, SHIV_ROOT=f"{name}/.shiv")  # leaves nothing behind
        demo = Demo(Path(sys.argv[1]).resolve(), folder)
        shutil.copytree(EXAMPLE, demo.project, symlinks=True)
        demo.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
