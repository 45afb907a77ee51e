"""Memory that is freed stays with the process for a while.

glibc returns what is free at the end of the heap to the kernel as soon as it is more than some
hundred KiB, which a server that moves blobs frees a thousand times a second; each page then comes
back by a fault: 70 for each MiB that is uploaded, a tenth of what that costs (`perf stat -e
page-faults`). Source: mallopt(3).
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 32 * 1024 * 1024  # free at the end of the heap
MAPPED_BYTES = 4 * 1024 * 1024  # blocks above it are apart, and go back to the kernel when freed


def keep_freed() -> bool:
    """Whether this C library can be told so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES))
