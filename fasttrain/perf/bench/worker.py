"""A contender in a process of its own: `python -m fasttrain.perf.bench.worker`, JSON lines in, JSON lines out.

The first line names the contender, "module:attribute", and its settings: a class with a dict `facts` and a method
`measure` that returns one. The process answers {} once it is built, then the facts, and a measurement for each further
line. What fails answers {"status": "oom" or "error", "reason"} and ends.
"""

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import fasttrain


class Failure(Exception):
    """A contender gave up: `status` is "oom" or "error"; the text says why, in one line."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Worker:
    """The parent's end: starts the process, asks, and closes it. A context manager.

    facts: what the contender said of itself. ready_seconds: from the start of the process until it was built.
    """

    def __init__(self, contender, settings, environment=None):
        root = str(Path(fasttrain.__file__).resolve().parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        started = time.monotonic()
        self.process = subprocess.Popen([sys.executable, "-m", "fasttrain.perf.bench.worker"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})})
        try:
            self.ask({"contender": contender, "settings": settings})
            self.ready_seconds = time.monotonic() - started
            self.facts = self.answer()
        except BaseException:
            self.close()
            raise

    def measure(self):
        """One measurement; raises Failure."""
        return self.ask("measure")

    def ask(self, message):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:  # died without a word; the kernel kills what takes more memory than there is
            code = self.process.wait()
            raise Failure("oom" if code == -9 else "error", f"its process ended with code {code}")
        answer = json.loads(line)
        if "status" in answer:
            raise Failure(answer["status"], answer["reason"])
        return answer

    def close(self):
        """Ends the process: gently, then by force."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def serve(lines, answer):
    """Builds the contender that the first of `lines` names and measures once for each further one."""
    from fasttrain.runtime import out_of_memory

    try:
        limit_memory()
        order = json.loads(next(lines))
        module, attribute = order["contender"].split(":")
        contender = getattr(importlib.import_module(module), attribute)(**order["settings"])
        answer({})
        answer(contender.facts)
        for _ in lines:
            answer(contender.measure())
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        answer({"status": "oom" if out_of_memory(error) else "error", "reason": reason})


def limit_memory():
    """Lets this process run out of memory before the whole machine does. (A GPU's driver bears no limit.)"""
    import torch

    from fasttrain.data.loaders import free_memory

    if not torch.cuda.is_available():
        soft, hard = free_memory("cpu"), resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def main():
    """Serves standard input and output; whatever else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(iter(sys.stdin.readline, ""), lambda values: answers.write(json.dumps(values) + "\n"))


if __name__ == "__main__":
    main()
