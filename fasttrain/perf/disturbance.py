"""Notices that a measurement was disturbed by other work on the machine, so that no verdict rests on it."""

from collections.abc import Sequence

APART = 1.3  # the step as it trains against the step in pieces
DELAYED = 0.1  # share of the time in which the thread could run but had no core
UNEVEN = 2.0  # the slowest tenth of the steps against their median


def disturbance(whole_ms: float, split_ms: float, steps_ms: Sequence[float], delay_share: float,
                device_type: str) -> str | None:
    """Returns in words how a measurement was disturbed; None where nothing shows that it was.

    steps_ms: each step as it trains. On a GPU the step in pieces may be slower, since its kernels start one by one.
    """
    signs = []
    slower = whole_ms / split_ms
    if slower > APART or (device_type == "cpu" and slower < 1 / APART):
        signs.append(f"a step takes {whole_ms:,.0f} ms as it trains and {split_ms:,.0f} ms in pieces")
    if delay_share > DELAYED:
        signs.append(f"other work had the core for {delay_share:.0%} of the time")
    ranked = sorted(steps_ms)
    median, slow = ranked[len(ranked) // 2], ranked[int(0.9 * (len(ranked) - 1))]
    if slow > UNEVEN * median:
        signs.append(f"steps took from {ranked[0]:,.0f} to {ranked[-1]:,.0f} ms")
    return "; ".join(signs) or None
