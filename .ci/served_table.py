"""Write README's table of what is served, from what a coordinator registers.

With `--check`, say whether it is up to date. Everything between the two marks is generated.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- served: begin, written by .ci/served_table.py -->", "<!-- served: end -->"

sys.path.insert(0, str(ROOT))

from builder.assembly.coordinator import open_coordinator  # noqa: E402 - found by the line above
from builder.config.kinds import Address  # noqa: E402
from builder.config.settings import Settings  # noqa: E402
from builder.net.rpc import Service  # noqa: E402
from builder.reapi.pb import remote_execution_pb2 as pb  # noqa: E402
from builder.server.capabilities import NAME as CAPABILITIES  # noqa: E402

OWN = "builder."  # services of our own, which are no part of anybody's API


async def registered() -> tuple[Sequence[Service], pb.ServerCapabilities]:
    """What a service without any configuration registers and announces."""
    with TemporaryDirectory() as folder:
        base, anywhere = Settings(), Address("127.0.0.1", 0)
        settings = replace(
            base,
            role="coordinator",
            coordinator=replace(base.coordinator, listen=anywhere),
            reapi=replace(base.reapi, listen=anywhere),
            store=replace(base.store, kind="memory", path=folder),
        )
        async with open_coordinator(settings) as coordinator:
            services = coordinator.services
            [about] = [service for service in services if service.name == CAPABILITIES]
            get = about.methods[0].unary
            assert get is not None
            answer = get(b"", None)  # type: ignore[arg-type]  # it does not look at its call
            assert isinstance(answer, bytes)
            return services, pb.ServerCapabilities.FromString(answer)


def table(services: Sequence[Service], announced: pb.ServerCapabilities) -> str:
    lines = ["| package | service | methods |", "|---|---|---|"]
    for service in services:
        if service.name.startswith(OWN):
            continue
        package, _, name = service.name.rpartition(".")
        methods = ", ".join(method.path.rpartition("/")[2] for method in service.methods)
        lines.append(f"| {package} | {name} | {methods} |")
    cache = announced.cache_capabilities
    functions = [pb.DigestFunction.Value.Name(one) for one in cache.digest_functions]
    compressors = [pb.Compressor.Value.Name(one) for one in cache.supported_compressors]
    low, high = announced.low_api_version, announced.high_api_version
    told = (
        f"API versions {low.major}.{low.minor} to {high.major}.{high.minor}; digest functions "
        f"{', '.join(functions)}; compressors {', '.join(compressors)}; node properties "
        f"{', '.join(announced.execution_capabilities.supported_node_properties)}."
    )
    return "\n".join([*lines, "", told])


def renewed(readme: str) -> str:
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"README.md lacks {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n{table(*trio.run(registered))}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    old = README.read_text()
    new = renewed(old)
    if check and new != old:
        sys.exit("README's table of what is served is stale; run .ci/run fix")
    if not check:
        README.write_text(new)


if __name__ == "__main__":
    main()
