"""The program that Ray starts instead of Python for each worker: it asks the fork server for the
process, then waits for its end.

It is run as ``python -S -E -I client.py SOCKET PYTHON ARGUMENT…``, once for each worker, so it
imports next to nothing. As it must stay until the worker ends, it turns into a shell that waits for
one line and takes a fiftieth of an interpreter's memory. Ray starts its agents with the same
executable; every start that is no worker is passed on to PYTHON.
"""

import os
import socket
import sys

ANSWER_SECONDS = 60.0
WORKERS = ("setup_worker.py", "default_worker.py")
# The server writes the worker's exit status when the worker ends. If there is no line, the server
# has died, and the worker with it.
WAIT = 'read -r status <&3 && exit "$status"; exit 70'


def main() -> None:
    """Ask the server for a worker, or become an ordinary interpreter if the start is no worker."""
    where, python, *arguments = sys.argv[1:]
    script = next((a for a in arguments if not a.startswith("-")), "")
    if os.path.basename(script) not in WORKERS:  # noqa: PTH119
        os.execv(python, [python, *arguments])
    environment = [k + b"=" + v for k, v in os.environb.items()]
    here = os.getcwdb()  # noqa: PTH109 (pathlib costs more than the rest)
    fields = [str(len(arguments)).encode(), *map(os.fsencode, arguments), here, *environment]
    message = b"\0".join(fields)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.settimeout(ANSWER_SECONDS)
    server.connect(where)
    files = b"".join(n.to_bytes(4, sys.byteorder) for n in (0, 1, 2))
    server.sendmsg(
        [len(message).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)]
    )
    server.sendall(message)
    answer = b""
    while not answer.endswith(b"\n"):
        more = server.recv(1)  # byte by byte, as what comes after this line is for the shell
        if not more:
            break
        answer += more
    if answer != b"ok\n":
        sys.exit(
            "prefork: no worker:"
            f" {answer.decode(errors='replace').strip() or 'the fork server hung up'}"
        )
    server.settimeout(None)
    os.dup2(server.fileno(), 3)
    os.set_inheritable(3, True)  # which dup2 does not do when the two numbers are equal
    os.execv("/bin/sh", ["/bin/sh", "-c", WAIT])


main()
