"""The script by which a fresh machine becomes a worker.

The image has `builder` on its PATH and systemd; nothing else is asked of it. The worker's name is
that of the machine, its configuration travels in the script, and it looks for its cloud's notice
that the machine is wanted back. When the worker has drained the machine powers off.
"""

import base64

AWS_NAME = """\
imds=http://169.254.169.254/latest
token=$(curl -sSf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$imds/api/token")
name=$(curl -sSf -H "X-aws-ec2-metadata-token: $token" "$imds/meta-data/instance-id")
"""
GCP_NAME = """\
name=$(curl -sSf -H 'Metadata-Flavor: Google' \\
  http://metadata.google.internal/computeMetadata/v1/instance/name)
"""
SCRIPT = """\
#!/bin/bash
# Written by builder: starts one worker on this machine.
set -euo pipefail
{before}install -d -m 0755 /etc/builder
base64 -d > /etc/builder/worker.yaml <<'CONFIG'
{config}
CONFIG
{name}systemd-run --unit=builder-worker --property=Delegate=yes --property=Restart=on-failure \\
  --property=TimeoutStopSec=infinity --property=SuccessAction=poweroff \\
  builder worker --config /etc/builder/worker.yaml --name "$name" --notices {cloud}
"""
NAMES = {"aws": AWS_NAME, "gcp": GCP_NAME}


def start_script(cloud: str, worker_config: str, before: str | None = None) -> str:
    """`before` is the user's own script; it runs first, in a shell of its own."""
    first = ""
    if before:
        first = f"base64 -d > /run/builder-before <<'BEFORE'\n{_encoded(before)}\nBEFORE\n"
        first += "chmod 0700 /run/builder-before\n/run/builder-before\n"
    return SCRIPT.format(
        before=first, config=_encoded(worker_config), name=NAMES[cloud], cloud=cloud
    )


def _encoded(text: str) -> str:
    lines = base64.encodebytes(text.encode()).decode()
    return lines.rstrip("\n")
