"""Log-ins that a centre has already: at a proxy, by OpenID Connect, by LDAP."""
