"""`lm-steer` and `snakemake` without the seconds their imports take: each runs in a fork of a process that has them.

    with forked_commands(folder):                # folder/lm-steer and folder/snakemake, to be put in front of the PATH
        run_snakemake(…)

A fork runs the package that PYTHONPATH names, with the caller's arguments, environment, folder and files, as the
console script would; only the third-party libraries are there already. It computes in one thread: several would spin
while they wait for each other, and several tests run at a time.
"""

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = """#!{python} -IS
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps({{"arguments": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ)}}).encode()
    files = array.array("i", [0, 1, 2])
    server.sendmsg([len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    server.sendall(request)
    code = server.recv(1)
sys.exit(code[0] if code else 1)
"""


@contextmanager
def forked_commands(folder: Path, **variables: str) -> Iterator[Path]:
    """Yield a folder whose `lm-steer` is run by a server of this module, as long as the `with` lasts.

    variables    of the environment, those that libraries read when they are imported
    """
    address = str(folder / "socket")
    for name in ("lm-steer", "snakemake"):
        (folder / name).write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
        (folder / name).chmod(0o755)
    environment = os.environ | variables | {"PYTHONPATH": str(ROOT)}
    # The server ends with this pipe: a test run that is killed takes it along.
    server = subprocess.Popen([sys.executable, __file__, address], env=environment, stdin=subprocess.PIPE)
    try:
        while not Path(address).exists():
            assert server.poll() is None, "the server of forked commands did not start"
            time.sleep(0.05)
        yield folder
    finally:
        server.stdin.close()
        server.wait()


def serve(address: str) -> None:
    import_libraries()
    with socket.socket(socket.AF_UNIX) as listening:
        # The name appears when the socket listens.
        listening.bind(address + ".part")
        listening.listen(64)
        os.rename(address + ".part", address)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if os.fork() == 0:
                listening.close()
                answer(connection)
            connection.close()


def import_libraries() -> None:
    """Import what the commands of a study do, and forget the package itself, which may be another one each time."""
    import snakemake.cli  # noqa: F401
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: F401

    import lm_steer

    for module in pkgutil.walk_packages(lm_steer.__path__, "lm_steer."):
        if module.name not in (
            "lm_steer.interop.lm_eval",
            "lm_steer.interop.vllm",
            "lm_steer.interop.vllm_batch",
            "lm_steer.generation.triton_kernels",
        ):
            importlib.import_module(module.name)
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_steer"]:
        del sys.modules[name]


def answer(connection: socket.socket) -> None:
    """Run one command in this process, tell its exit code, and end."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    length, request = int.from_bytes(head, "big"), b""
    while len(request) < length:
        request += connection.recv(length - len(request))
    asked = json.loads(request)
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    worker = os.fork()
    if worker == 0:
        run(asked["arguments"])
    # A caller that is killed takes its command along.
    ended, _, _ = select.select([os.pidfd_open(worker), connection], [], [])
    if connection in ended:
        os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    with contextlib.suppress(OSError):
        connection.sendall(bytes([os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1]))
    os._exit(0)


def run(arguments: list[str]) -> None:
    import traceback

    import torch

    code = 0
    sys.argv = arguments
    # The streams of the server knew other files under these numbers.
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
    sys.path[:0] = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    torch.set_num_threads(1)
    try:
        if Path(arguments[0]).name == "snakemake":
            from snakemake.cli import main
        else:
            from lm_steer.cli import main
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = 1 if isinstance(end.code, str) else end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
