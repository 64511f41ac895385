"""What the operating system tells about this process: bytes read, and how long it waited for a core."""

import time
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """Sums since the process began. run_delay: seconds in which this thread could run but other work had the core."""

    seconds: float
    bytes_read: int
    run_delay: float

    @classmethod
    def now(cls) -> "Usage":
        """Returns what the system tells now; 0 for what it does not tell."""
        io = dict(line.split(": ") for line in told("/proc/self/io").splitlines())
        delays = told("/proc/thread-self/schedstat").split()
        read = max(int(io.get("rchar", 0)), int(io.get("read_bytes", 0)))  # by calls; from storage, by page faults too
        return cls(time.perf_counter(), read, int(delays[1]) / 1e9 if len(delays) > 1 else 0.0)

    @property
    def delay_share(self) -> float:
        """The share of the time in which other work had the core."""
        return self.run_delay / self.seconds if self.seconds else 0.0

    def since(self, before: "Usage") -> "Usage":
        """Returns what was added after `before`."""
        return Usage(*(now - then for now, then in zip(self, before, strict=True)))


def told(path: str) -> str:
    """Returns the content of a file of the kernel; "" where there is none or it may not be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""
