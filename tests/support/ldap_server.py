"""Debian's slapd with some people and groups, unpacked by the Makefile, on a port of this machine."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = "dc=example,dc=org"
SERVICE = f"cn=service,{BASE}"
PASSWORD = "Tannenzapfen-17"

_UNPACKED = Path(sys.prefix) / "slapd"  # by the Makefile
_CONFIGURATION = """
include {root}/etc/ldap/schema/core.schema
include {root}/etc/ldap/schema/cosine.schema
include {root}/etc/ldap/schema/nis.schema
include {root}/etc/ldap/schema/inetorgperson.schema
modulepath {root}/usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
database mdb
suffix "{base}"
rootdn "{service}"
rootpw {password}
directory {folder}/database
"""
_PERSON = """
dn: uid={name},ou=people,{base}
objectClass: inetOrgPerson
uid: {name}
cn: {name} Lovelace
sn: Lovelace
mail: {name}@example.org
userPassword: {password}
"""
_GROUPS = """
dn: cn=hpc-staff,ou=groups,{base}
objectClass: groupOfNames
cn: hpc-staff
member: uid=ada,ou=people,{base}

dn: cn=lead-bio,ou=groups,{base}
objectClass: posixGroup
cn: lead-bio
gidNumber: 1000
memberUid: ada
memberUid: grace
"""


@dataclass
class LdapServer:
    """A running slapd."""

    url: str
    certificate: Path

    @property
    def setting(self) -> dict[str, Any]:
        """Return the setting LDAP for it."""
        people, groups = f"ou=people,{BASE}", f"ou=groups,{BASE}"
        access = {"bind_dn": SERVICE, "bind_password": PASSWORD, "ca_file": str(self.certificate)}
        return {"url": self.url, "user_base": people, "group_base": groups, **access}


def program() -> str | None:
    """Return the path of slapd; None if there is none."""
    return shutil.which("slapd", path=os.pathsep.join(["/usr/sbin", str(_UNPACKED / "usr" / "sbin")]))


@contextlib.contextmanager
def running_slapd(folder: Path) -> Iterator[LdapServer]:
    """Run slapd with ada, who is in the groups hpc-staff and lead-bio, grace, in lead-bio, and alan, in none."""
    path = Path(program() or "slapd")
    root = path.parents[2]
    (folder / "database").mkdir(parents=True)
    server = LdapServer(f"ldap://localhost:{_free_port()}", folder / "certificate.pem")
    _make_certificate(folder)
    schemas = "\n".join(
        f"include {root}/etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "nis", "inetorgperson")
    )
    values = {
        "schemas": schemas,
        "root": root,
        "folder": folder,
        "base": BASE,
        "service": SERVICE,
        "password": PASSWORD,
    }
    (folder / "slapd.conf").write_text(_CONFIGURATION.format(**values))
    (folder / "people.ldif").write_text(_people())
    libraries = os.pathsep.join(map(str, [*_UNPACKED.glob("usr/lib/*-linux-gnu"), *_UNPACKED.glob("lib/*-linux-gnu")]))
    environment = os.environ | ({"LD_LIBRARY_PATH": libraries} if libraries else {})
    configured = [str(path), "-f", str(folder / "slapd.conf")]
    with (folder / "slapd.log").open("wb") as log:
        options: dict[str, Any] = {"env": environment, "stdout": log, "stderr": log}
        subprocess.run(
            [str(path), "-T", "add", *configured[1:], "-l", str(folder / "people.ldif")], check=True, **options
        )
        process = subprocess.Popen([*configured, "-h", server.url, "-d", "0"], **options)
    try:
        while not _listens(int(server.url.rpartition(":")[2])):
            assert process.poll() is None, (folder / "slapd.log").read_text()
            time.sleep(0.02)
        yield server
    finally:
        process.terminate()
        process.wait()


def _people() -> str:
    top = f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n"
    units = [f"dn: ou={name},{BASE}\nobjectClass: organizationalUnit\nou: {name}\n" for name in ("people", "groups")]
    people = [_PERSON.format(name=name, base=BASE, password=PASSWORD).lstrip() for name in ("ada", "grace", "alan")]
    return "\n".join([top, *units, *people, _GROUPS.format(base=BASE).lstrip()])


def _make_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost", *files], check=True, capture_output=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False
