"""Two runs see the same where it can be made so: environment, addresses, processors, names."""

from pathlib import Path

from builder.sandbox.interface import Limits, Sandbox
from tests.sandbox.support import shell

ASK = (
    "echo $SOURCE_DATE_EPOCH $TZ $LC_ALL $PYTHONHASHSEED; nproc; hostname; id -un; umask; pwd;"
    "sed -n 's/ .*\\[\\(heap\\|stack\\)\\]/ \\1/p' /proc/self/maps"
)


async def test_what_can_be_the_same_is_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    """Time for those who ask for it, zone, locale, hash seed, processors, names and addresses."""
    outs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        done = await shell(sandbox, tmp_path / name, ASK, deterministic=True)
        assert "processors=1 (affinity)" in done.exit.limits
        outs.append(done.out)
    told = outs[0].splitlines()
    assert told[:6] == [
        "315532800 UTC C.UTF-8 0", "1", "builder", "builder", "0022", "/builder/work"
    ]  # fmt: skip
    assert [line.split()[-1] for line in told[6:]] == ["heap", "stack"]
    assert outs[0] == outs[1]


async def test_processors_are_those_of_the_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action that asks for less than two processors sees as many as it may use, rounded up."""
    limits = Limits(cpu_cores=0.5)
    done = await shell(sandbox, tmp_path, "nproc", deterministic=True, limits=limits)
    assert done.out == "1\n"


async def test_own_environment_goes_first(sandbox: Sandbox, tmp_path: Path) -> None:
    """What the action says itself is not replaced; without the option nothing is added."""
    script = "echo $TZ ${LC_ALL-none}"
    environment = {"TZ": "CET"}
    done = await shell(sandbox, tmp_path, script, deterministic=True, environment=environment)
    assert done.out == "CET C.UTF-8\n"
    done = await shell(sandbox, tmp_path, script, environment=environment)
    assert done.out == "CET none\n"
