"""The Linux kernel as the sandbox uses it: raw system calls, no package but the core."""
