"""New Pythons for tests, without the seconds that imports take: one imports the libraries, then parts into a child for each."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARENT = """
import json, os, sys
exec(sys.argv.pop())
print("ready", flush=True)
for line in sys.stdin:
    code, folder, words = json.loads(line)
    if not os.fork():
        print(os.getpid(), flush=True)
        os.chdir(folder)
        sys.argv[1:] = words
        exec(code, {"__name__": "__main__"})
        sys.exit()
    print("ended:", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@contextmanager
def pythons(imports, **variables):
    """run(code, *words, folder=ROOT, until=None), each time in a new child of a Python that has run `imports`: (all that it
    printed, its exit code). words: its sys.argv[1:]. until: where a line begins so, the child gets SIGTERM, and may go on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, imports],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as parent:

        def run(code, *words, folder=ROOT, until=None):
            parent.stdin.write(json.dumps([code, str(folder), words]) + "\n")
            parent.stdin.flush()
            child, said = int(parent.stdout.readline()), []
            for line in parent.stdout:
                if line.startswith("ended: "):
                    return "".join(said), int(line.split()[1])
                said.append(line)
                if until and line.startswith(until):
                    os.kill(child, signal.SIGTERM)
            raise AssertionError("".join(said))

        for line in parent.stdout:  # what the libraries say when they are imported
            if line == "ready\n":
                break
        yield run
