"""Mails to ADMINS about what needs a hand: when the state of a check changes, and once a day while it lasts.

What the last mail said is in a file, because the database may be what needs a hand.
"""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.mail import mail_admins

from jobs.health.page import page
from jobs.health.report import Finding, State

AGAIN = 86_400 - 600
"""Seconds after which a mail is sent again; a little less than a day, because timers are not exact."""


@dataclass(frozen=True, slots=True)
class Said:
    """When the last mail was sent (epoch seconds), and the checks that were not ok then, with their states."""

    at: int
    bad: dict[str, str]


def tell(findings: list[Finding], now: int) -> str | None:
    """Send a mail if there is one to send, and return its subject; raise OSError (smtplib's errors are some)."""
    path = Path(settings.MAILED_STATE)
    said = _read(path)
    bad = _states(findings)
    if bad == said.bad and not (bad and now - said.at >= AGAIN):
        return None
    worse = {name: state for name, state in bad.items() if said.bad.get(name) != state}
    mended = [name for name in said.bad if name not in bad]
    parts = [f"{state}: {name}" for name, state in (worse or bad).items()]
    parts += [f"mended: {', '.join(mended)}"] if mended else []
    subject = f"{socket.gethostname()}: {'; '.join(parts)}"[:200]
    text = page(sorted(findings, key=lambda finding: -finding.state))
    mail_admins(subject, f"{text}\n\nSee the page Health of the admin site, and docs/operations.md.\n")
    _write(path, Said(now, bad))
    return subject


def _states(findings: list[Finding]) -> dict[str, str]:
    """Return the checks that are not ok, the worst first, with their states."""
    states: dict[str, State] = {}
    for finding in findings:
        states[finding.name] = max(finding.state, states.get(finding.name, State.OK))
    worst = sorted(states.items(), key=lambda item: -item[1])
    return {name: state.word for name, state in worst if state != State.OK}


def _read(path: Path) -> Said:
    """Return what was said last; nothing if that is not known, so that it is said again."""
    try:
        known = json.loads(path.read_text())
        return Said(int(known["at"]), dict(known["bad"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Said(0, {})


def _write(path: Path, said: Said) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"at": said.at, "bad": said.bad}))
    new.replace(path)
