"""A service of one's own from Python: `python3 words.py`, with builder installed or on PYTHONPATH.

It starts a service with two workers, counts the words of this file in a sandbox that sees nothing
else, twice, and shows what the service has done.
"""

from pathlib import Path

from builder.api import SandboxSpec, Service

HERE = Path(__file__).parent


def main() -> None:
    spec = (
        SandboxSpec.builder()
        .input("words.py")
        .output("build/count.txt")
        .temp("/tmp")
        .max_memory("256MiB")
        .max_cpu(1)
        .timeout("30s")
        .enable_audit()
        .build()
    )
    with Service.builder().pool(minimum=2).build() as service:
        for _ in range(2):
            result = service.execute(
                ["sh", "-c", "wc -w < words.py > build/count.txt; ls"], spec, HERE
            )
            print(f"exit code {result.exit_code}, on {result.worker or 'nothing'}")
            print(f"  from the cache: {result.cached}; it saw: {result.stdout.decode().split()}")
            print(f"  {result.audit[0]}")
        print(f"words: {(HERE / 'build' / 'count.txt').read_text().strip()}")
        print(f"workers: {service.get_metrics()['workers']['total']}")


if __name__ == "__main__":
    main()
