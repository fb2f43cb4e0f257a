"""A process that has imported much and forks a child for every program that it is to run.

``python zygote.py ADDRESS MODULE...`` serves a Unix socket there, imports the modules that are
there, and ends when nobody is connected any more. A byte on a connection, with four file
descriptors, is one program: a file of JSON (``argv`` with the path of a script or ``-c``, ``cwd``,
``env``, ``file_size``), its two streams, and a pipe, to which its pid and its exit code are
written, a line each. The child runs the program as a new interpreter would: the zygote has
imported, and nothing else. Of an interpreter's end only the taking apart of the modules is left
out. A zygote may itself be such a program, of one that has imported less.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn


def preload(modules: list[str]) -> None:
    """Import modules, with all that lies in a package where ``.*`` follows its name."""
    for name in modules:
        with suppress(ImportError):  # an extra that is not installed
            package = importlib.import_module(name.removesuffix(".*"))
            if name.endswith(".*"):
                inner = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
                preload([found.name for found in inner if not found.name.endswith("__main__")])


def serve(listener: socket.socket, address: str) -> dict[str, Any]:
    """Return in every child, with the program that it is to run; in the zygote never."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest
    children: dict[int, int] = {}
    callers = [listener.accept()[0]]
    while callers:
        ready, _, _ = select.select([listener, woken, *callers], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(children)
        if listener in ready:
            callers.append(listener.accept()[0])
        for caller in set(callers) & set(ready):
            call, fds, _, _ = socket.recv_fds(caller, 1, 4)
            if not call:  # its pytest has ended
                callers.remove(caller)
                caller.close()
            elif not (pid := os.fork()):
                for open_socket in (listener, *callers):
                    open_socket.close()
                for fd in (woken, wakes, *children.values()):
                    os.close(fd)
                return _program(*fds)
            else:
                for fd in fds[:3]:
                    os.close(fd)
                children[pid] = fds[3]
                os.write(fds[3], b"%d\n" % pid)
    os.unlink(address)
    os._exit(0)


def _reap(children: dict[int, int]) -> None:
    for pid, pipe in list(children.items()):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with suppress(BrokenPipeError):  # nobody waits any more
                os.write(pipe, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(children.pop(pid))


def _program(request: int, out: int, err: int, status: int) -> dict[str, Any]:
    """Take the place that a new process would have."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(out, 1)
    os.dup2(err, 2)
    with open(request, encoding="utf-8") as file:
        program: dict[str, Any] = json.load(file)
    for fd in (out, err, status):
        os.close(fd)
    os.environ.clear()
    os.environ.update(program["env"])
    os.chdir(program["cwd"])
    if size := program["file_size"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # random does so by itself; torch begins with the same seed always
    return program


def run(argv: list[str]) -> None:
    if argv[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *argv[2:]], ""
        exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = argv, os.path.dirname(argv[0])
        runpy.run_path(argv[0], run_name="__main__")


def run_and_exit(argv: list[str]) -> NoReturn:
    code: Any = None
    try:
        run(argv)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # as an interpreter ends: threads, then what was registered
    atexit._run_exitfuncs()
    if not (code is None or isinstance(code, int)):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    _, address, *modules = sys.argv
    listener = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        os.unlink(address)  # of one that was killed
    listener.bind(address)
    listener.listen()
    preload(modules)
    gc.collect()
    gc.freeze()  # a child's collector leaves alone, and shares, what was there before it
    run_and_exit(serve(listener, address)["argv"])
