"""WebAssembly modules for tests, in the text format. Each is a WASI command."""

from wasmtime import wat2wasm

IMPORTS = """
(import "wasi_snapshot_preview1" "fd_write"
  (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_read"
  (func $fd_read (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_open"
  (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_symlink"
  (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_sizes_get"
  (func $args_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_sizes_get"
  (func $environ_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(memory (export "memory") 4)
"""
# What a file is opened for (WASI's rights and flags).
READ, WRITE, CREATE = 2, 64, 1
OWN, TREE, TMP = 3, 4, 5  # descriptors of the preopened directories, in their order


def module(body: str, data: str = "", imports: str = IMPORTS) -> bytes:
    """A command with this body. `data` goes to address 1024; the result is the exit code."""
    text = f'(module {imports} (data (i32.const 1024) "{data}")'
    text += f' (func (export "_start") {body}))'
    return bytes(wat2wasm(text))


def exit_with(value: str) -> str:
    return f"(call $proc_exit {value})"


def write(fd: int, start: int, size: str) -> str:
    """`size` bytes from `start` to a descriptor."""
    return f"""
      (i32.store (i32.const 0) (i32.const {start}))
      (i32.store (i32.const 4) {size})
      (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))"""


def say(text: str, fd: int = 1) -> bytes:
    return module(write(fd, 1024, f"(i32.const {len(text)})"), text)


def open_file(path: str, directory: int, rights: int, flags: int = 0, follow: int = 1) -> bytes:
    """Exit with the errno of opening it, or write `new` to it, or print what is in it."""
    size = len(path.encode())
    then = write_opened() if rights == WRITE else print_opened()
    return module(
        f"""(local $e i32)
        (local.set $e (call $path_open (i32.const {directory}) (i32.const {follow})
          (i32.const 1024) (i32.const {size}) (i32.const {flags})
          (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 16)))
        (if (local.get $e) (then {exit_with("(local.get $e)")}))
        {then}""",
        path,
    )


def write_opened() -> str:
    return """
      (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 3))
      (i32.store (i32.const 32) (i32.const 0x77656e))
      (call $proc_exit
        (call $fd_write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))"""


def print_opened() -> str:
    return f"""
      (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 4096))
      (drop (call $fd_read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
      {write(1, 4096, "(i32.load (i32.const 8))")}"""


SPIN = module("(loop $again (br $again))")
TRAP = module("unreachable")
GROW = module(  # as far as it may, a page at a time; its size in MiB is the exit code
    """(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"""
    + exit_with("(i32.div_u (memory.size) (i32.const 16))")
)
FLOOD = module(f"(loop $again {write(1, 1024, '(i32.const 65536)')} (br $again))")
ARGUMENTS = module(
    f"""(drop (call $args_sizes_get (i32.const 64) (i32.const 68)))
    (drop (call $args_get (i32.const 512) (i32.const 4096)))
    {write(1, 4096, "(i32.load (i32.const 68))")}
    (drop (call $environ_sizes_get (i32.const 64) (i32.const 68)))
    (drop (call $environ_get (i32.const 512) (i32.const 4096)))
    {write(2, 4096, "(i32.load (i32.const 68))")}"""
)
BIG = bytes(wat2wasm('(module (memory 2000) (func (export "_start")))'))
NO_COMMAND = bytes(wat2wasm('(module (func (export "run")))'))
SOCKETS = bytes(
    wat2wasm(
        '(module (import "wasi_snapshot_preview1" "sock_open" (func (param i32) (result i32)))'
        ' (func (export "_start")))'
    )
)
LINK = module(  # a link that leads out, then through it
    f"""(drop (call $path_symlink (i32.const 1024) (i32.const 4)
          (i32.const {OWN}) (i32.const 1028) (i32.const 1)))
    {
        exit_with(f'''(call $path_open (i32.const {OWN}) (i32.const 1)
          (i32.const 1028) (i32.const 12) (i32.const 0)
          (i64.const {READ}) (i64.const 0) (i32.const 0) (i32.const 16))''')
    }""",
    "/etcl/passwd-etc"[:16],
)
