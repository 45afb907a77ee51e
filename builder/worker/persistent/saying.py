"""What a result says of limits that hold for a program as a whole."""

from builder.sandbox.interface import Limits
from builder.sandbox.outcome import size


def limit_sentences(limits: Limits, held: tuple[str, ...]) -> tuple[str, ...]:
    """As `Exit.limits`. Those of the program hold for all that it works on."""

    def by(guarantee: str) -> str:
        return f"{'cgroup' if guarantee in held else 'rlimit'}, all of the program"

    found = []
    if limits.memory_bytes is not None:
        found.append(f"memory={size(limits.memory_bytes)} ({by('memory-cgroup')})")
    if limits.processes is not None:
        found.append(f"processes={limits.processes} ({by('processes-cgroup')})")
    if limits.cpu_cores is not None:
        found.append(f"cpu={limits.cpu_cores:g} (all of the program)")
    if limits.wall_s is not None:
        found.append(f"wall={limits.wall_s:g}s (timer)")
    return (*found, f"output={size(limits.output_bytes)} (response)")
