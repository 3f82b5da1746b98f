"""Answers to what setup has to know: from an option, the environment, or a question on the terminal."""

import os
import sys

from accounts.console import on_terminal


class Questions:
    """Ask on the terminal, unless there is none or nothing is to be asked."""

    def __init__(self, *, ask: bool) -> None:
        """With `ask` False the defaults are taken."""
        self.asks = ask and on_terminal()

    def answer(self, question: str, default: str) -> str:
        """Return the answer to a question, or the default."""
        if not self.asks:
            return default
        sys.stderr.write(f"{question} [{default}]: " if default else f"{question}: ")
        sys.stderr.flush()
        return sys.stdin.readline().strip() or default

    def setting(self, name: str, option: str | None, question: str, default: str) -> str:
        """Return the value of a setting: that of the option, of the environment, or the answer to the question."""
        return option or os.environ.get(name) or self.answer(question, default)

    def number(self, question: str, default: int) -> int:
        """Return a whole number above zero, asked for until it is one."""
        while True:
            text = self.answer(question, str(default))
            if text.isdecimal() and int(text) > 0:
                return int(text)
            sys.stderr.write(f"{text!r}: expected a whole number\n")
