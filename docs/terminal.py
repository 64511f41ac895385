"""Draws into an SVG what a command shows on a terminal, at the moment when a pattern is there. Needs pyte from PyPI.

    python docs/terminal.py docs/terminal.svg 'epoch 4/5 train +9/' \\
        fasttrain run --data synthetic:classes=10 --epochs 5

The command runs on to its end. This is how the README's picture was made.
"""

import io
import os
import pty
import re
import shlex
import sys

import pyte
from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 92, 40
SIZE = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
COLOURS = {"default": "", "brown": "yellow"}  # pyte's names; "brown" is what old terminals made of yellow


def watch(command, pattern):
    """Runs `command` on a pseudo terminal of its own; the screen when `pattern` first was on it, or at the end."""
    screen, kept = pyte.Screen(COLUMNS, LINES), None
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(SIZE)
        os.environ.pop("CI", None)
        os.execvp(command[0], command)
    while data := read(terminal):
        stream.feed(data)
        if kept is None and re.search(pattern, "\n".join(screen.display)):
            kept = text_of(screen)
    os.waitpid(child, 0)
    return kept or text_of(screen)


def read(terminal):
    """What the command wrote; nothing once it has ended."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def text_of(screen):
    """The screen as rich Text, without the empty lines below."""
    lines = []
    for row in range(screen.lines):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            colour = COLOURS.get(cell.fg, f"#{cell.fg}" if re.fullmatch("[0-9a-f]{6}", cell.fg) else cell.fg)
            line.append(cell.data, style=f"{'bold ' if cell.bold else ''}{colour}".strip())
        line.rstrip()
        lines.append(line)
    while not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def main():
    out, pattern, *command = sys.argv[1:]
    shown = Text.assemble(("$ ", "green"), shlex.join(command).replace(os.path.dirname(command[0]) + "/", ""), "\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(shown + watch(command, pattern), soft_wrap=True)
    console.save_svg(out, title="fasttrain")


if __name__ == "__main__":
    main()
