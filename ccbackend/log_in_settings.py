"""Settings of log-ins: users, roles, passwords, sessions; a part of ccbackend.settings."""

from datetime import timedelta
from typing import Any

from ccbackend.reading import read_json, read_object, read_whole, read_words

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "accounts.backends.RoleBackend"]
# The permissions of each role in the admin site; admin (superuser) has all. JobQuerySet.visible_to alone decides which
# jobs a user sees.
ROLE_PERMISSIONS = {
    "user": {"jobs.view_job"},
    "manager": {"jobs.view_job", "jobs.tag_job", "jobs.view_tag"},
    "support": {"jobs.view_job", "jobs.tag_job", "jobs.annotate_job", "jobs.view_tag", "jobs.add_tag"}
    | {"jobs.view_tagrule", "jobs.add_tagrule", "jobs.view_refusedcall"},
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {"user_attributes": ["username", "name", "email"]}),
        ("MinimumLengthValidator", {}),
        ("CommonPasswordValidator", {}),
    )
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", "accounts.hashers.AdoptedPassword"]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_ENGINE = "ccbackend.sessions"
SESSION_COOKIE_AGE = 12 * 60 * 60  # seconds without a request; ccbackend.middleware.KeepSession counts them

# What may be left out of the settings LDAP and OIDC.
LDAP_DEFAULTS = {
    "bind_dn": "",
    "bind_password": "",
    "user_filter": "(&(objectClass=person)(uid=$username))",
    "username": "uid",
    "group_base": "",
    "group_filter": "(|(&(objectClass=posixGroup)(memberUid=$username))(member=$dn)(uniqueMember=$dn))",
    "group_name": "cn",
    "start_tls": True,
    "ca_file": "",
}
OIDC_DEFAULTS = {
    "name": "your centre",
    "scopes": "openid profile email",
    "username_claim": "preferred_username",
    "groups_claim": "groups",
    "algorithm": "RS256",
}

LOGIN_FAILURES = read_whole("LOGIN_FAILURES", 10, minimum=1, maximum=1000)
AXES_FAILURE_LIMIT = LOGIN_FAILURES
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "accounts.addresses.known_address"
AXES_WHITELIST_CALLABLE = "accounts.backends.has_no_username"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # or whoever goes on guessing locks the name for ever
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False

_HEADER = ("[A-Za-z0-9-]+", "the name of a header such as X-Remote-User")
REMOTE_USER_HEADER = "".join(read_words("REMOTE_USER_HEADER", "", *_HEADER))
REMOTE_GROUPS_HEADER = "".join(read_words("REMOTE_GROUPS_HEADER", "", *_HEADER))
if REMOTE_USER_HEADER:
    AUTHENTICATION_BACKENDS.append("accounts.backends.SessionBackend")
LDAP: dict[str, Any] = read_object(
    "LDAP",
    {"url", "user_base"},
    LDAP_DEFAULTS,
    '{"url": "ldaps://ldap.example.org", "user_base": "ou=people,dc=example,dc=org"}',
)
if LDAP:
    AUTHENTICATION_BACKENDS.append("accounts.log_in.ldap.LdapBackend")
OIDC: dict[str, Any] = read_object(
    "OIDC",
    {"issuer", "client_id", "client_secret"},
    OIDC_DEFAULTS,
    '{"issuer": "https://sso.example.org/realms/hpc", "client_id": "jobs", "client_secret": "..."}',
)
if OIDC:
    AUTHENTICATION_BACKENDS.append("accounts.log_in.oidc.OidcBackend")
# What groups of a centre's own log-in give: the names of roles, and for a pattern the project that its members manage.
GROUP_ROLES: dict[str, list[str]] = read_json(
    "GROUP_ROLES",
    '{"*": ["user"]}',
    lambda roles: isinstance(roles, list) and all(isinstance(role, str) for role in roles),
    '{"*": ["user"], "hpc-staff": ["support"]}',
)
GROUP_PROJECTS: dict[str, str] = read_json(
    "GROUP_PROJECTS", "{}", lambda project: isinstance(project, str), r'{"lead-(.+)": "\\1"}'
)

# Public keys of a cc-backend, whose tokens stay valid here.
JWT_PUBLIC_KEYS = read_words("JWT_PUBLIC_KEYS")
