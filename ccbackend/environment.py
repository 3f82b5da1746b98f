"""Settings as people write them: files of lines NAME=value, the addresses of a database and of a mail server.

No error here has any part of a value, since each value may be a secret.
"""

import json
import re
import urllib.parse
from string import Template
from typing import Any

from environ import Env

_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\s*=(?P<value>.*)")
_IN_QUOTES = re.compile(r"""\s*(?:'(?P<literal>[^']*)'|"(?P<escaped>(?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
_COMMENT = re.compile(r"\s#.*")

_SQLITE = re.compile(r"sqlite://(?P<name>/[^?]+|:memory:)(?:\?(?P<query>.*))?")
_POSTGRES = re.compile(
    r"(?:postgres|postgresql|psql|pgsql)://"
    r"(?:(?P<user>[^:/?#@]*)(?::(?P<password>[^/?#]*))?@)?(?P<hosts>[^/?#@]*)/(?P<name>[^?#@]*)(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d{1,5}))?")
_SQLITE_OPTIONS = re.compile("init_command|timeout|transaction_mode")
_POSTGRES_OPTIONS = re.compile(
    "application_name|assume_role|channel_binding|connect_timeout|dbname|gss[a-z]+|host|hostaddr|keepalives[a-z_]*"
    "|krbsrvname|load_balance_hosts|m(?:ax|in)_protocol_version|oauth_[a-z_]+|options|passfile|password|port"
    "|prepare_threshold|require_?[a-z]+|scram_[a-z_]+|service|ssl[a-z_]+|target_session_attrs|tcp_user_timeout|user"
)
_NAMED = ("host", "port", "user", "password")
_MAIL = re.compile(
    r"smtp(?P<how>|\+tls|\+ssl)://(?:(?P<user>[^:/@\s]+):(?P<password>[^:/@\s]*)@)?(?P<server>[^/?#@\s]+)/?"
)
_WEB = re.compile(r"https?://[^\s$]")

LINK_WORDS = ("cluster", "jobid", "user", "start", "stop", "hosts")
"""What addresses of JOB_LINKS may have for facts of a job."""

_HOW_TO_WRITE = (
    "expected sqlite:///PATH or postgres://USER:PASSWORD@HOST:PORT/NAME, with special characters of user and password "
    "as %2F for /, %23 for #, %3F for ?, %40 for @ and %25 for %"
)


def parse_file(content: bytes) -> dict[str, str]:
    """Return the settings of a file; raise ValueError with the number of a line that is none.

    Lines are `NAME=value` in UTF-8, with or without `export`, spaces around the equals sign, quotes around the value,
    a comment after it, carriage returns and a byte order mark. In double quotes a backslash escapes `"`, `\\`, `$` and
    a backquote; nothing else is replaced.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {number} is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected NAME=value")
        name, value = match["name"], _value(match["value"])
        if value is None:
            raise ValueError(f"line {number}: {name}: expected one value between quotes, or none in quotes")
        if "\0" in value:
            raise ValueError(f"line {number}: {name} has a NUL character")
        if found.setdefault(name, value) != value:
            raise ValueError(f"line {number}: {name} has another value on an earlier line")
    return found


def _value(written: str) -> str | None:
    """Return what is meant by the text after an equals sign; None if its quotes do not match."""
    if not written.lstrip().startswith(("'", '"')):
        return _COMMENT.sub("", written).strip()
    quoted = _IN_QUOTES.fullmatch(written)
    if quoted is None:
        return None
    return quoted["literal"] if quoted["escaped"] is None else re.sub(r'\\(["\\$`])', r"\1", quoted["escaped"])


def parse_database_url(url: str) -> dict[str, Any]:
    """Return Django's description of a database, with ENGINE sqlite3 or postgresql; raise ValueError if it is neither.

    Each part is percent-decoded. PATH is relative unless a fourth slash begins it. HOST may be a list with commas or
    the encoded folder of a socket. Host, port, user and password may stand after the question mark instead: they are
    no options for Django, which hands psql no other options than those of TLS.
    """
    if match := _SQLITE.fullmatch(url):
        if match["name"].endswith("/"):
            raise ValueError("expected sqlite:///PATH, the path of a file, not of a folder")
        path = urllib.parse.quote(urllib.parse.unquote(match["name"].removeprefix("/")), safe="/:")
        return _config(f"sqlite:///{path}", match["query"], _SQLITE_OPTIONS)
    match = _POSTGRES.fullmatch(url)
    if match is None:
        raise ValueError(_HOW_TO_WRITE)
    parts = {name: urllib.parse.unquote(text or "") for name, text in match.groupdict().items()}
    hosts = [_HOST.fullmatch(host) for host in match["hosts"].split(",")]
    name, socket_folder = parts["name"], ""
    if name.startswith("/"):  # postgres:////run/postgresql/NAME
        socket_folder, _, name = name.rpartition("/")
    user, password, quoted_name = (
        urllib.parse.quote(part, safe="") for part in (parts["user"], parts["password"], name)
    )
    options = urllib.parse.parse_qsl(match["query"] or "", keep_blank_values=True)
    named = {key.upper(): text for key, text in reversed(options) if key in _NAMED}
    query = urllib.parse.urlencode([(key, text) for key, text in options if key not in _NAMED])
    config = _config(f"postgres://{user}:{password}@/{quoted_name}", query, _POSTGRES_OPTIONS)
    texts = (*parts.values(), *named.values())
    if not all(hosts) or not (name or "service" in config["OPTIONS"]) or any("\0" in text for text in texts):
        raise ValueError(_HOW_TO_WRITE)
    names = [urllib.parse.unquote(host["ipv6"] or host["host"] or "") for host in hosts if host]
    ports = [host["port"] for host in hosts if host and host["port"]]
    config |= {"HOST": socket_folder or ",".join(names), "PORT": ",".join(ports)}
    return config | {key: text for key, text in named.items() if not config[key]}


def _config(address: str, query: str | None, known_options: re.Pattern[str]) -> dict[str, Any]:
    """Return Django's description of a database; raise ValueError for an option that is unknown.

    The address is encoded anew: django-environ would take special characters that are not for its own.
    """
    for name, _ in urllib.parse.parse_qsl(query or "", keep_blank_values=True):
        if not known_options.fullmatch(name):
            raise ValueError("there is an unknown option after the question mark")
    return {"OPTIONS": {}, **Env.db_url_config(f"{address}?{query or ''}")}


def parse_json(text: str) -> Any:
    """Return the value of a JSON document; raise ValueError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, {error}") from None


def parse_links(text: str) -> list[tuple[str, str]]:
    """Return the names and addresses of links that pages of jobs have; raise ValueError."""
    form = '[{"name": "Metrics", "url": "https://grafana.example.org/d/x?var-host=$hosts&from=${start}000"}]'
    try:
        links = [(entry["name"], entry["url"]) for entry in json.loads(text)]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ValueError(f"expected JSON such as {form}") from None
    if not all(isinstance(name, str) and name.strip() and _WEB.match(str(url)) for name, url in links):
        raise ValueError("expected names, and addresses that begin with http:// or https://")
    try:
        for _, url in links:
            Template(url).substitute(dict.fromkeys(LINK_WORDS, ""))
    except (KeyError, ValueError):
        words = ", ".join(f"${word}" for word in LINK_WORDS)
        raise ValueError(f"expected no words in addresses but {words}, and $$ for a dollar sign") from None
    return links


def parse_mail_url(url: str) -> dict[str, Any]:
    """Return the server for outgoing mails: how to encrypt, host, port, user, password; raise ValueError."""
    match = _MAIL.fullmatch(url)
    server = _HOST.fullmatch(match["server"]) if match else None
    if match is None or server is None:
        raise ValueError(
            "expected smtp://HOST:PORT, or smtp+tls:// or smtp+ssl://, with USER:PASSWORD@ before HOST if the server "
            "asks for them, in both @ as %40, : as %3A, / as %2F and % as %25"
        )
    how = match["how"]
    return {
        "how": how,
        "host": server["ipv6"] or server["host"],
        "port": int(server["port"] or {"": 25, "+tls": 587, "+ssl": 465}[how]),
        "user": urllib.parse.unquote(match["user"] or ""),
        "password": urllib.parse.unquote(match["password"] or ""),
    }
