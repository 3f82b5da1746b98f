"""The web servers of deploy/, nginx and Apache, in front of a server of the tests, with a certificate of their own."""

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import PROJECT

NAME = "jobs.example.org"

_UNPACKED = Path(sys.prefix) / "proxies"  # by the Makefile
_NGINX = """
{account}
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    {temporary}
    include {folder}/site.conf;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_APACHE = """
ServerRoot {folder}
ServerName {name}
PidFile {folder}/apache.pid
Mutex file:{folder}
ErrorLog {folder}/proxy.log
{modules}
{account}
Listen {http}
Listen {https}
Include {folder}/site.conf
"""
_MODULES = ["mpm_event", "authz_core", "alias", "headers", "socache_shmcb", "proxy", "proxy_http", "ssl"]
_MODULES += ["auth_basic", "authn_core", "authn_file", "authz_user"]

LOG_IN = {
    "nginx": (
        """        proxy_set_header X-Remote-User "";
        proxy_set_header X-Remote-Groups "";
""",
        """        auth_basic "Jobs";
        auth_basic_user_file {folder}/passwords;
        proxy_set_header X-Remote-User $remote_user;
        proxy_set_header X-Remote-Groups "hpc-staff";
""",
    ),
    "apache": (
        """    RequestHeader unset X-Remote-User
    RequestHeader unset X-Remote-Groups
""",
        """    <Location /admin/>
        AuthType Basic
        AuthName Jobs
        AuthUserFile {folder}/passwords
        Require valid-user
    </Location>
    RequestHeader unset X-Remote-User
    RequestHeader set X-Remote-User expr=%{{REMOTE_USER}} "expr=-n %{{REMOTE_USER}}"
    RequestHeader set X-Remote-Groups hpc-staff
""",
    ),
}
"""What takes the place of what in the file of deploy/ for a log-in at the proxy, as docs/security.md has it."""


@dataclass
class Proxy:
    """A running proxy; its addresses are of the form 127.0.0.1:PORT."""

    http: str
    https: str
    certificate: Path


def program(kind: str) -> str | None:
    """Return the path of "nginx" or "apache"; None if there is none."""
    name = "apache2" if kind == "apache" else kind
    places = [os.environ.get("PATH", ""), "/usr/sbin", str(_UNPACKED / "usr" / "sbin")]
    return shutil.which(name, path=os.pathsep.join(places))


@contextlib.contextmanager
def running_proxy(kind: str, folder: Path, upstream: int, *, password: str = "") -> Iterator[Proxy]:
    """Run "nginx" or "apache" with the file of deploy/ in front of a port of this machine.

    With a password, ada has to log in there.
    """
    folder.mkdir(mode=0o755)
    proxy = Proxy(_free_address(), _free_address(), folder / "certificate.pem")
    _make_certificate(folder)
    _write_site(kind, folder, proxy, upstream)
    if password:
        site, (old, new) = (folder / "site.conf").read_text(), LOG_IN[kind]
        assert old in site
        (folder / "site.conf").write_text(site.replace(old, new.format(folder=folder)))
        digest = base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()
        (folder / "passwords").write_text(f"ada:{{SHA}}{digest}\n")
    path = program(kind) or kind
    if kind == "nginx":
        temporary = "\n".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY)
        account = "user root;" if os.geteuid() == 0 else ""  # whose folder of bodies it is
        configuration = _NGINX.format(folder=folder, temporary=temporary, account=account)
        command = [path, "-p", str(folder), "-e", str(folder / "proxy.log"), "-g", "daemon off;"]
    else:
        unpacked = Path(path).parents[2] / "usr" / "lib" / "apache2" / "modules"
        modules = "\n".join(f"LoadModule {name}_module {unpacked}/mod_{name}.so" for name in _MODULES)
        account = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""
        configuration = _APACHE.format(
            folder=folder, name=NAME, modules=modules, account=account, http=proxy.http, https=proxy.https
        )
        command = [path, "-D", "FOREGROUND"]
    (folder / "proxy.conf").write_text(configuration)
    libraries = os.pathsep.join(map(str, _UNPACKED.glob("usr/lib/*-linux-gnu")))
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-c" if kind == "nginx" else "-f", str(folder / "proxy.conf")],
            env=os.environ | ({"LD_LIBRARY_PATH": libraries} if libraries else {}),
            stdout=log,
            stderr=log,
        )
    try:
        while not _listens(proxy.https):
            said = "".join(path.read_text() for path in folder.glob("*.log"))
            assert process.poll() is None, said
            time.sleep(0.02)
        yield proxy
    finally:
        process.terminate()
        process.wait()


def _write_site(kind: str, folder: Path, proxy: Proxy, upstream: int) -> None:
    """Write the file of deploy/ with the ports and the certificate of this test."""
    site = (PROJECT / "deploy" / f"{kind}.conf").read_text()
    changes = {
        "127.0.0.1:8080": f"127.0.0.1:{upstream}",
        "listen 80;": f"listen {proxy.http};",
        "listen 443 ": f"listen {proxy.https} ",
        "*:80>": f"{proxy.http}>",
        "*:443>": f"{proxy.https}>",
        "/etc/ssl/certs/jobs.example.org.pem": str(proxy.certificate),
        "/etc/ssl/private/jobs.example.org.key": str(folder / "key.pem"),
    }
    for old, new in changes.items():
        site = site.replace(old, new)
    (folder / "site.conf").write_text(site)


def _make_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"]
    subprocess.run([*command, "-addext", f"subjectAltName=DNS:{NAME}", *files], check=True, capture_output=True)


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _listens(address: str) -> bool:
    host, port = address.split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False
