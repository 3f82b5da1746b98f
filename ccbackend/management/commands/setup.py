"""Set up a server for production, step by step; what is there stays as it is."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.console import BAD_USAGE, ServerCommand, on_terminal, whole_number
from archive.exceptions import ArchiveError
from archive.format.layout import VERSION_FILE, is_valid_cluster_name
from archive.storage.store import store_for
from ccbackend.reading import BASE_DIR, IS_INSTALLED, RESOURCES
from ccbackend.setup import SetupError, database, deploy, env_file
from ccbackend.setup.cluster import skeleton
from ccbackend.setup.hardware import Nodes, Processor, read_lscpu, read_sinfo, read_slurm_conf
from ccbackend.setup.questions import Questions

_SQLITE = "sqlite:///var/ccbackend.sqlite3"
_SLURM_CONF = Path("/etc/slurm/slurm.conf")
_PATIENCE = 60  # seconds that sinfo may take


class Command(ServerCommand):
    """Ask or take options, make what is missing, and say what is there."""

    help = (
        "Set up this server for production: settings, database, archive, a first cluster.json, an administrator, a "
        "token for the scheduler's hooks, and the files for systemd and nginx. It asks on a terminal for what no "
        "option says. What is there stays as it is, so that it can be repeated after a step that failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        number = partial(whole_number, least=1, most=100_000)
        parser.add_argument("--database", metavar="URL", help=f"The DATABASE_URL; by default {_SQLITE}.")
        parser.add_argument("--archive", metavar="PATH", help="The ARCHIVE_ROOT; by default var/job-archive.")
        parser.add_argument("--name", help="The public name under which a proxy with TLS serves; by default none.")
        parser.add_argument("--cluster", metavar="C", help="A cluster to write a first cluster.json for.")
        parser.add_argument("--slurm-conf", metavar="FILE", type=Path, help="Its nodes are those of this slurm.conf.")
        parser.add_argument(
            "--sinfo",
            metavar="FILE",
            nargs="?",
            const="",
            help="Its nodes are those of FILE, the output of `sinfo --json`; without FILE run sinfo on this host.",
        )
        parser.add_argument(
            "--lscpu",
            metavar="FILE",
            type=Path,
            help="The output of `lscpu; lscpu -p=CPU,CORE,SOCKET,NODE` on one of the nodes.",
        )
        parser.add_argument("--nodes", metavar="LIST", help="Its nodes, such as n[01-16], if there is no Slurm.")
        for word, what in (("sockets", "per node"), ("cores", "per socket"), ("threads", "per core")):
            parser.add_argument(f"--{word}", metavar="N", type=number, help=f"The {word} {what} of --nodes.")
        parser.add_argument("--admin", metavar="USER", help="An administrator to create, with a password.")
        parser.add_argument(
            "--password-stdin", action="store_true", help="Read the administrator's password from standard input."
        )
        parser.add_argument(
            "--hook", metavar="USER", default="slurm", help="The account of the scheduler's hooks; by default slurm."
        )
        parser.add_argument("--yes", action="store_true", help="Ask nothing; take the defaults.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Go through the steps; the first that cannot be done ends the run."""
        self._questions = Questions(ask=not options["yes"])
        _refuse_bad_usage(options)
        try:
            self._write_settings(options)
            self._load()
            steps: list[Callable[[dict[str, Any]], None]] = [
                self._make_archive,
                self._migrate,
                self._write_cluster,
                self._create_admin,
                self._create_token,
                self._write_files,
            ]
            for step in steps:
                step(options)
        except (SetupError, ArchiveError) as error:
            raise CommandError(f"{error}\nRepeat setup to go on; what was done stays.") from None

    def _tell(self, subject: str, text: str) -> None:
        self.say(f"{subject:<14} {text}")

    def _write_settings(self, options: dict[str, Any]) -> None:
        """Add the settings that the file lacks, and make the database of DATABASE_URL."""
        path = Path(os.environ.setdefault("ENV_FILE", str(BASE_DIR / ".env")))
        there = env_file.read(path)
        wanted = {
            "DATABASE_URL": ("database", "Database: sqlite:///PATH or postgres://USER:PASSWORD@HOST/NAME", _SQLITE),
            "ARCHIVE_ROOT": ("archive", "Folder of the job archive", "var/job-archive"),
        }
        new = {} if "SECRET_KEY" in there else {"SECRET_KEY": os.environ.get("SECRET_KEY") or env_file.new_secret()}
        for name, (option, question, default) in wanted.items():
            if name not in there:
                new[name] = self._questions.setting(name, options[option], question, default)
            elif options[option] not in (None, there[name]):
                raise SetupError(f"--{option}: {path} has another {name}; change it there, or leave the option out")
        if "ALLOWED_HOSTS" not in there:
            asked = "" if there else self._questions.answer("Public name behind a proxy with TLS, if any", "")
            found = _behind_proxy(options["name"] or asked)
            new |= {name: value for name, value in found.items() if name not in there}
        elif options["name"] and options["name"] not in there["ALLOWED_HOSTS"].split(","):
            raise SetupError(f"--name: {path} has another ALLOWED_HOSTS; change it there, or leave the option out")
        try:
            made = database.make({**there, **new}["DATABASE_URL"], BASE_DIR)
        except ValueError as error:
            raise CommandError(f"DATABASE_URL: {error}", returncode=BAD_USAGE) from None
        except SetupError:
            if new:
                env_file.add(path, new)
                self._tell("settings", f"{path}: wrote {', '.join(new)}")
            raise
        if new:
            env_file.add(path, new)
        self._tell("settings", f"{path}: wrote {', '.join(new)}" if new else f"{path} is there")
        self._tell("database", "is new" if made else "is there")

    def _load(self) -> None:
        """Load the project with the settings of the file."""
        try:
            django.setup()
        except ImproperlyConfigured as error:
            raise SetupError(str(error)) from None

    def _make_archive(self, options: dict[str, Any]) -> None:
        root = Path(settings.ARCHIVE_ROOT)
        is_there = (root / VERSION_FILE).exists()
        try:
            store = store_for(root)
            store.prepare()
            if not is_there and not any(root.iterdir()):
                store.write_version()
        except OSError as error:
            account = _account()
            raise SetupError(
                f"archive: {root}: {error.strerror}. As root: install -d -o {account} -m 700 {root}"
            ) from None
        self._tell("archive", f"{root} {'is there' if is_there else 'created'}")

    def _migrate(self, options: dict[str, Any]) -> None:
        executor = MigrationExecutor(connection)
        missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        if missing:
            call_command("migrate", verbosity=0)
        self._tell("tables", f"{missing} migrations applied" if missing else "are there")

    def _write_cluster(self, options: dict[str, Any]) -> None:
        store = store_for(settings.ARCHIVE_ROOT)
        name = options["cluster"] or ""
        if not name and not store.clusters():
            name = self._questions.answer("Name of a cluster; without one every name is accepted", "")
        if name and not is_valid_cluster_name(name):
            raise SetupError(f"--cluster {name[:80]!r}: expected a name that can be a folder")
        if name and name not in store.clusters():
            kinds = self._nodes(options)
            processor = read_lscpu(options["lscpu"]) if options["lscpu"] else Processor()
            store.write_cluster(name, skeleton(name, kinds, processor))
            self._tell("cluster", f"{name}: wrote {store.root / name / 'cluster.json'}; go on by docs/cluster-json.md")
        elif store.clusters():
            self._tell("cluster", f"{', '.join(store.clusters())}: cluster.json is there")
        else:
            self._tell("cluster", "no cluster.json: every name is accepted")

    def _nodes(self, options: dict[str, Any]) -> list[Nodes]:
        """Return the cluster's nodes: from Slurm, by options, or by questions."""
        if options["slurm_conf"]:
            return read_slurm_conf(options["slurm_conf"])
        if options["sinfo"] is not None:
            return read_sinfo(_sinfo(options["sinfo"]))
        ask = self._questions
        if not options["nodes"] and ask.asks and _SLURM_CONF.exists():
            return read_slurm_conf(Path(ask.answer("The cluster's slurm.conf", str(_SLURM_CONF))))
        nodes = options["nodes"] or ask.answer("Its nodes, such as n[01-16],login1; * are all", "*")
        sockets = options["sockets"] or ask.number("Sockets per node", 1)
        cores = options["cores"] or ask.number("Cores per socket", 1)
        return [Nodes(nodes, sockets, cores, options["threads"] or ask.number("Hwthreads per core", 1))]

    def _create_admin(self, options: dict[str, Any]) -> None:
        users: Any = apps.get_model("accounts", "User").objects
        there = users.filter(role_set__role="admin", is_active=True).order_by("pk").first()
        name = options["admin"] or (there is None and self._questions.answer("Name of an administrator", "admin"))
        if users.filter(username=name).exists() or (there and not options["admin"]):
            self._tell("administrator", f"{name or there} is there")
        elif options["admin"] or self._questions.asks:
            words = ["--password-stdin"] if options["password_stdin"] else []
            call_command("create_user", name, "--role", "admin", *words, verbosity=0)
            self._tell("administrator", f"{name} created")
        else:
            self._tell("administrator", "none: give --admin USER, or use create_user")

    def _create_token(self, options: dict[str, Any]) -> None:
        name = options["hook"]
        user: Any = apps.get_model("accounts", "User").objects.filter(username=name).first()
        if user is None:
            call_command("create_user", name, "--role", "api", "--no-password", verbosity=0)
        elif any(token.status == "active" for token in user.tokens.all()):
            self._tell("hook token", f"of {name} is there; create_token makes another")
            return
        self._tell("hook token", f"of {name}, shown this once:")
        call_command("create_token", name, "--name", "made by setup", verbosity=0, stdout=self.stdout)

    def _write_files(self, options: dict[str, Any]) -> None:
        """Write the files of systemd and nginx; one that was changed by hand stays."""
        hosts = [host for host in settings.ALLOWED_HOSTS if host not in ("localhost", "127.0.0.1")]
        place = deploy.Place(
            folder=BASE_DIR,
            account=_account(),
            archive=Path(settings.ARCHIVE_ROOT),
            database=Path(settings.DATABASES["default"]["NAME"]).parent if connection.vendor == "sqlite" else None,
            name=hosts[0] if hosts and settings.BEHIND_TLS_PROXY else "",
            programs=Path(sys.executable).parent if IS_INSTALLED else None,
        )
        folder = BASE_DIR / "var" / "deploy"
        written = []
        for name, content in deploy.files(RESOURCES / "deploy", place):
            path = folder / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
                written.append(name)
            elif path.read_text() != content:
                self.note(f"{path} differs from what setup would write, and stays")
        self._tell("systemd, nginx", f"{folder}: wrote {len(written)} files" if written else f"{folder} is there")


def _refuse_bad_usage(options: dict[str, Any]) -> None:
    """Raise CommandError for options that cannot be together, before anything is done."""
    if options["admin"] and not options["password_stdin"] and not on_terminal():
        text = "--admin: there is no terminal to ask for a password on: give --password-stdin"
        raise CommandError(text, returncode=BAD_USAGE)
    if sum(options[name] is not None for name in ("slurm_conf", "sinfo", "nodes")) > 1:
        raise CommandError("expected one of --slurm-conf, --sinfo and --nodes", returncode=BAD_USAGE)
    given = [name for name in ("slurm_conf", "sinfo", "lscpu", "nodes") if options[name] is not None]
    if given and not options["cluster"] and not on_terminal():
        raise CommandError(f"--{given[0].replace('_', '-')}: --cluster has to name the cluster", returncode=BAD_USAGE)


def _behind_proxy(name: str) -> dict[str, str]:
    """Return the settings for a proxy with TLS on this host; none without a public name."""
    if not name:
        return {}
    return {
        "ALLOWED_HOSTS": f"{name},localhost,127.0.0.1",
        "CSRF_TRUSTED_ORIGINS": f"https://{name}",
        "BEHIND_TLS_PROXY": "true",
        "TRUSTED_PROXIES": "127.0.0.1",
    }


def _sinfo(path: str) -> bytes:
    """Return the JSON of a file, or of sinfo on this host."""
    if path:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise SetupError(f"--sinfo: {path} cannot be read: {error.strerror}") from None
    program = shutil.which("sinfo")
    if program is None:
        raise SetupError("--sinfo: there is no sinfo on this host; give a file with the output of `sinfo --json`")
    try:
        outcome = subprocess.run([program, "--json"], capture_output=True, timeout=_PATIENCE, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise SetupError(f"--sinfo: {error}") from None
    return outcome.stdout


def _account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user that has no name
        return str(os.geteuid())
