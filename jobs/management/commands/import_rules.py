"""Take over the job classes of a cc-backend as rules."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from accounts.console import BAD_USAGE, ServerCommand, printable
from accounts.formatting import quantity
from archive import root
from jobs.exceptions import JobError
from jobs.ledger.footprint import metrics_of
from jobs.ledger.slots import slots_for
from jobs.messages import TagName
from jobs.records import TagRule
from jobs.tag_rules.job_classes import TAG_TYPE, Translation, translate
from jobs.tag_rules.words import LONGEST, RuleError, conditions
from jobs.tags.ids import tag_ids
from jobs.tags.services import check_tags


class Command(ServerCommand):
    """Import rules."""

    help = (
        "Translate the job classes of a cc-backend (a folder such as var/tagger/jobclasses) to rules, and print their "
        "searches. What does not translate is named with the reason, and the exit status is then 1. Run again, it adds "
        "only what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="The folder of the classes.")
        parser.add_argument("--dry-run", action="store_true", help="Print what would be added, and add nothing.")
        parser.add_argument("--json", action="store_true", help="Print the same as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Translate, add, print."""
        folder: Path = options["folder"]
        if not folder.is_dir():
            raise CommandError(f"FOLDER: {folder} is no directory", returncode=BAD_USAGE)
        with transaction.atomic():
            _reserve_slots()
            try:
                found = [_checked(each) for each in translate(folder, root.registry())]
            except (OSError, ValueError) as error:
                raise CommandError(f"The rules cannot be read: {error}") from error
            added = 0 if options["dry_run"] else _add(found)
            transaction.set_rollback(options["dry_run"])
        if options["json"]:
            rules = [{**asdict(each), "tag": f"{TAG_TYPE}:{each.tag}"} for each in found]
            self.stdout.write(json.dumps({"rules": rules, "added": added}))
        else:
            for each in found:
                for search in each.searches:
                    self.stdout.write(printable(f"{TAG_TYPE}:{each.tag}  {search}"))
                if each.problem:
                    self.stdout.write(printable(f"{each.file}: {each.problem}"))
            number = sum(len(each.searches) for each in found)
            self.say(f"{quantity(number, 'rule')} translated, {added:,} added.")
        if failed := [each for each in found if each.problem]:
            raise CommandError(f"{quantity(len(failed), 'file')} not translated.")


def _reserve_slots() -> None:
    """Make the metrics of footprints known to searches, also where no job has ended yet."""
    clusters = [cluster for name in root.registry().names() if (cluster := root.registry().get(name)) is not None]
    slots_for(name for each in clusters for name in metrics_of(each, {metric.name: metric for metric in each.metrics}))


def _checked(found: Translation) -> Translation:
    """Take the searches away that this server does not take, and say why."""
    try:
        if found.searches:
            check_tags([TagName(TAG_TYPE, found.tag)])
        for search in found.searches:
            conditions(search)
            if len(search) > LONGEST:
                raise RuleError(f"the search has {len(search)} characters, expected at most {LONGEST}")
    except (RuleError, JobError) as error:
        found.searches, found.problem = [], str(error)
    return found


def _add(found: list[Translation]) -> int:
    """Add the rules that are not there, and return their number."""
    wanted = [(search, (TAG_TYPE, each.tag)) for each in found for search in each.searches]
    ids = tag_ids(sorted({pair for _, pair in wanted})) if wanted else {}
    return sum(TagRule.objects.get_or_create(words=search, tag_id=ids[pair])[1] for search, pair in wanted)
