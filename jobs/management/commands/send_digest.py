"""Send the weekly digest by mail, for a timer."""

import socket
import time
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, ServerCommand
from accounts.formatting import quantity
from jobs.overview.digest import digest, text_of


class Command(ServerCommand):
    """Send a mail, or print its text."""

    help = (
        "Send a mail about the last seven whole days (UTC) to the addresses in DIGEST_TO: jobs that ended, and how "
        "badly; the top users; the jobs that have the tag of a rule. Without addresses it is off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the option."""
        parser.add_argument("--dry-run", action="store_true", help="Only print the text.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the digest, and send it."""
        if not options["dry_run"] and not settings.DIGEST_TO:
            raise CommandError("DIGEST_TO is empty: there is nobody to send a digest to", returncode=BAD_USAGE)
        found = digest(int(time.time()))
        text = text_of(found)
        if options["dry_run"]:
            self.say(text)
            return
        subject = f"{settings.EMAIL_SUBJECT_PREFIX}{socket.gethostname()}: {quantity(found.jobs, 'job')} in a week"
        try:
            send_mail(subject, text, settings.SERVER_EMAIL, settings.DIGEST_TO)
        except OSError as error:  # smtplib's errors are some
            raise CommandError(f"the mail could not be sent: {error}") from None
        self.say(f"Digest sent to {', '.join(settings.DIGEST_TO)}.")
