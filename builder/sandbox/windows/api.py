"""The calls of Windows that the sandbox makes, each as it is; by ctypes, and nothing else.

`Windows` exists on Windows only. Whatever a call refuses is OSError with Windows' own code.
"""

import ctypes
import os
import sys
from typing import Any, Protocol

BASIC_ACCOUNTING, UI_RESTRICTIONS, EXTENDED_LIMITS, CPU_RATE = 1, 4, 9, 15
TOKEN_RIGHTS = 0x0001 | 0x0002 | 0x0008 | 0x0080  # assign primary, duplicate, query, default
DISABLE_MAX_PRIVILEGE, LUA_TOKEN = 0x1, 0x4
CREATE_SUSPENDED, UNICODE_ENVIRONMENT, NO_WINDOW = 0x4, 0x400, 0x08000000
USE_STANDARD_HANDLES = 0x100
FOREVER, FAILED = 0xFFFFFFFF, 0xFFFFFFFF


class Api(Protocol):
    """Handles are numbers; who gets one closes it."""

    def create_job(self) -> int: ...

    def set_job(self, job: int, kind: int, data: bytes) -> None: ...

    def query_job(self, job: int, kind: int, size: int) -> bytes: ...

    def restricted_token(self) -> int: ...

    def create_suspended(
        self, token: int, line: str, environment: str, directory: str, out: int, err: int
    ) -> tuple[int, int]:
        """(process, thread). `out` and `err` are descriptors of ours for its output."""
        ...

    def assign(self, job: int, process: int) -> None: ...

    def resume(self, thread: int) -> None: ...

    def wait(self, process: int) -> int:
        """Its exit code, once it has ended. Blocks."""
        ...

    def terminate_process(self, process: int, code: int) -> None: ...

    def terminate_job(self, job: int, code: int) -> None: ...

    def close(self, handle: int) -> None: ...


class StartupInfo(ctypes.Structure):
    """STARTUPINFOW"""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("reserved", ctypes.c_void_p),
        ("desktop", ctypes.c_void_p),
        ("title", ctypes.c_void_p),
        *((name, ctypes.c_uint32) for name in ("x", "y", "width", "height")),
        *((name, ctypes.c_uint32) for name in ("columns", "rows", "fill", "flags")),
        ("show", ctypes.c_uint16),
        ("more_size", ctypes.c_uint16),
        ("more", ctypes.c_void_p),
        ("stdin", ctypes.c_void_p),
        ("stdout", ctypes.c_void_p),
        ("stderr", ctypes.c_void_p),
    )


class ProcessInfo(ctypes.Structure):
    """PROCESS_INFORMATION"""

    _fields_ = (
        ("process", ctypes.c_void_p),
        ("thread", ctypes.c_void_p),
        ("process_id", ctypes.c_uint32),
        ("thread_id", ctypes.c_uint32),
    )


if sys.platform == "win32":
    import msvcrt

    class Windows:
        """See `Api`."""

        def __init__(self) -> None:
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            self._advapi = ctypes.WinDLL("advapi32", use_last_error=True)
            for name in ("CreateJobObjectW", "GetCurrentProcess"):
                getattr(self._kernel, name).restype = ctypes.c_void_p

        def create_job(self) -> int:
            return int(self._done(self._kernel.CreateJobObjectW(None, None)))

        def set_job(self, job: int, kind: int, data: bytes) -> None:
            handle = ctypes.c_void_p(job)
            self._done(self._kernel.SetInformationJobObject(handle, kind, data, len(data)))

        def query_job(self, job: int, kind: int, size: int) -> bytes:
            data, handle = ctypes.create_string_buffer(size), ctypes.c_void_p(job)
            query = self._kernel.QueryInformationJobObject
            self._done(query(handle, kind, data, size, None))
            return data.raw

        def restricted_token(self) -> int:
            own, less = ctypes.c_void_p(), ctypes.c_void_p()
            process = ctypes.c_void_p(self._kernel.GetCurrentProcess())
            self._done(self._advapi.OpenProcessToken(process, TOKEN_RIGHTS, ctypes.byref(own)))
            try:
                flags, none = DISABLE_MAX_PRIVILEGE | LUA_TOKEN, (0, None, 0, None, 0, None)
                create = self._advapi.CreateRestrictedToken
                self._done(create(own, flags, *none, ctypes.byref(less)))
            finally:
                self.close(own.value or 0)
            return less.value or 0

        def create_suspended(
            self, token: int, line: str, environment: str, directory: str, out: int, err: int
        ) -> tuple[int, int]:
            startup, info = StartupInfo(), ProcessInfo()
            startup.size, startup.flags = ctypes.sizeof(startup), USE_STANDARD_HANDLES
            nothing = os.open(os.devnull, os.O_RDONLY)
            handles = [msvcrt.get_osfhandle(fd) for fd in (nothing, out, err)]
            startup.stdin, startup.stdout, startup.stderr = handles
            flags = CREATE_SUSPENDED | UNICODE_ENVIRONMENT | NO_WINDOW
            text = ctypes.create_unicode_buffer(line)
            block = ctypes.create_unicode_buffer(environment, len(environment) + 1)
            create = self._advapi.CreateProcessAsUserW
            try:
                for handle in handles:  # only while this one is made
                    os.set_handle_inheritable(handle, True)
                self._done(
                    create(
                        *(ctypes.c_void_p(token), None, text, None, None, True, flags, block),
                        *(directory, ctypes.byref(startup), ctypes.byref(info)),
                    )
                )
            finally:
                for handle in handles:
                    os.set_handle_inheritable(handle, False)
                os.close(nothing)
            return info.process, info.thread

        def assign(self, job: int, process: int) -> None:
            one, other = ctypes.c_void_p(job), ctypes.c_void_p(process)
            self._done(self._kernel.AssignProcessToJobObject(one, other))

        def resume(self, thread: int) -> None:
            count = self._kernel.ResumeThread(ctypes.c_void_p(thread))
            self._done(ctypes.c_uint32(count).value != FAILED)

        def wait(self, process: int) -> int:
            code, handle = ctypes.c_uint32(), ctypes.c_void_p(process)
            self._done(self._kernel.WaitForSingleObject(handle, FOREVER) == 0)
            self._done(self._kernel.GetExitCodeProcess(handle, ctypes.byref(code)))
            return code.value

        def terminate_process(self, process: int, code: int) -> None:
            self._done(self._kernel.TerminateProcess(ctypes.c_void_p(process), code))

        def terminate_job(self, job: int, code: int) -> None:
            self._done(self._kernel.TerminateJobObject(ctypes.c_void_p(job), code))

        def close(self, handle: int) -> None:
            self._done(self._kernel.CloseHandle(ctypes.c_void_p(handle)))

        def _done(self, result: Any) -> Any:
            """What a call gave, unless it is what says that it failed."""
            if not result:
                raise ctypes.WinError(ctypes.get_last_error())
            return result
