"""Create an API token from the shell."""

import argparse
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.addresses import parse_network
from accounts.console import BAD_USAGE, ServerCommand, whole_number
from accounts.formatting import local_time
from accounts.models import ApiToken, Role, TokenScope, User

_MOST_DAYS = 36_500
_LONGEST_NAME = 255


def _network(text: str) -> str:
    try:
        return str(parse_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Command(ServerCommand):
    """Create an API token and print it."""

    help = (
        "Create a token for the REST API. The token, and nothing else, is printed to standard output, so that a "
        "script can read it. It is shown only once and stored as a hash. Send it as X-Auth-Token or as "
        "Authorization: Bearer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("username", metavar="USER", help="The user that the token acts for.")
        parser.add_argument(
            "--name", default="", metavar="LABEL", help="What the token is for, e.g. 'slurm adapter on mgmt1'."
        )
        parser.add_argument(
            "--days",
            type=partial(whole_number, least=1, most=_MOST_DAYS),
            metavar="N",
            help="Days until the token expires; without this option it never expires.",
        )
        parser.add_argument(
            "--scope",
            choices=TokenScope.values,
            metavar="SCOPE",
            help=f"What the token may be used for: {'; '.join(TokenScope.labels)}. Without this option, all for a user "
            "with the role api or admin, else read.",
        )
        parser.add_argument(
            "--cluster",
            dest="clusters",
            nargs="+",
            action="extend",
            default=[],
            metavar="CLUSTER",
            help="Clusters whose jobs alone the token reaches; without this option, all.",
        )
        parser.add_argument(
            "--network",
            dest="networks",
            type=_network,
            nargs="+",
            action="extend",
            default=[],
            metavar="CIDR",
            help="Addresses or networks from which the token may be used, e.g. 10.1.0.0/16; without this option, any.",
        )

        parser.add_argument(
            "--exists-ok",
            action="store_true",
            help="If the user has an active token of this name, print nothing on stdout and end with status 0.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the token; print the secret to stdout and remarks about it to stderr."""
        _require_known(options["clusters"])
        if len(options["name"]) > _LONGEST_NAME:
            raise CommandError(f"--name: expected at most {_LONGEST_NAME} characters", returncode=BAD_USAGE)
        user = User.objects.with_access().filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"no such user: {options['username']!r}; create it with create_user")
        if options["exists_ok"]:
            named = user.tokens.select_related("user").filter(name=options["name"])
            if token := next((token for token in named if token.status == "active"), None):
                self.note(f"Token {token} of {user.username} is there already; none was created.")
                return
        row, secret = ApiToken.issue(
            user=user,
            name=options["name"],
            days=options["days"],
            scope=options["scope"] or user.usual_scope,
            clusters=dict.fromkeys(options["clusters"]),
            networks=dict.fromkeys(options["networks"]),
        )
        self.stdout.write(secret)
        self.stdout.flush()
        self.note(
            f"1 token created for {user.username}: scope {row.reach}; {_life(row)}. "
            "Store it safely: it is not shown again."
        )
        if not user.is_active:
            self.note(f"User {user.username} is inactive: the token is refused until the user is activated.")
        if not user.has_role(Role.API, Role.ADMIN):
            reads = "GET jobs/ and GET jobs/{id} have the user's jobs, other calls answer 403"
            does = reads if row.scope == TokenScope.READ else "the REST API will answer 403"
            self.note(f"User {user.username} has neither role api nor admin: {does}.")


def _require_known(clusters: list[str]) -> None:
    """Raise CommandError for a cluster that is not configured, while others are."""
    if not clusters:
        return
    registry = import_string(settings.CLUSTER_REGISTRY)()
    for name in clusters:
        if registry.configured and name not in registry.names() and registry.failure(name) is None:
            raise CommandError(f"--cluster {name[:80]!r}: there is no such cluster here", returncode=BAD_USAGE)


def _life(token: ApiToken) -> str:
    if token.expires_at is None:
        return "it does not expire"
    return f"it expires on {local_time(token.expires_at)} {timezone.localtime(token.expires_at):%Z}"
