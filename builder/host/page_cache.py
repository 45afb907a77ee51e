"""What of a file is in memory: cachestat(2), which Linux has since 6.5."""

import ctypes

CACHESTAT = 451  # on every architecture
PAGE = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_range = (ctypes.c_uint64 * 2)()  # offset, length
_found = (ctypes.c_uint64 * 5)()  # pages: cached, dirty, in write-back, evicted, lately evicted


def is_cached(descriptor: int, start: int, length: int) -> bool:
    """Whether all these bytes are in the page cache; False as well where nobody can tell.

    Not for two threads at once.
    """
    _range[0], _range[1] = start, length
    if _libc.syscall(CACHESTAT, descriptor, _range, _found, 0):
        return False
    return bool(_found[0] >= (start + length - 1) // PAGE - start // PAGE + 1)
