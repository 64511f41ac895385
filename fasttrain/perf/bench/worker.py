"""A contender in a process of its own: `python -m fasttrain.perf.bench.worker`; see `fasttrain.workers`.

The first message names the contender, "module:attribute", and its settings: a class with a dict `facts` and a method
`measure` that returns one. The process answers {} once it is built, then the facts, and a measurement for each further
message. What fails answers {"status": "oom" or "error", "reason"} and ends.
"""

import contextlib
import importlib
import resource
import signal
import time

from fasttrain import workers


class Failure(Exception):
    """A contender gave up: `status` is "oom" or "error"; the text says why, in one line."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Worker(workers.Worker):
    """The parent's end: starts the process, asks, and closes it. A context manager.

    facts: what the contender said of itself. ready_seconds: from the start of the process until it was built.
    """

    def __init__(self, contender, settings, environment=None):
        started = time.monotonic()
        super().__init__("fasttrain.perf.bench.worker", environment)
        try:
            self.ask({"contender": contender, "settings": settings})
            self.ready_seconds = time.monotonic() - started
            self.facts = self.answer()
        except BaseException:
            self.close()
            raise

    def measure(self):
        """Returns one measurement; raises Failure."""
        return self.ask("measure")

    def ask(self, message):
        self.send(message)
        return self.answer()

    def answer(self):
        answer = self.receive()
        if answer is None:  # died without a word; the kernel kills what takes more memory than there is
            code = self.process.wait()
            raise Failure("oom" if code == -signal.SIGKILL else "error", workers.how_it_ended(code))
        if "status" in answer:
            raise Failure(answer["status"], answer["reason"])
        return answer


def serve(messages, answer):
    """Builds the contender that the first of `messages` names and measures once for each further one."""
    from fasttrain.runtime import out_of_memory

    try:
        limit_memory()
        order = next(messages)
        module, attribute = order["contender"].split(":")
        contender = getattr(importlib.import_module(module), attribute)(**order["settings"])
        answer({})
        answer(contender.facts)
        for _ in messages:
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


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve(*workers.connect())
