"""What the accounts app refuses, each with the HTTP status that the API answers."""


class AccountError(Exception):
    """A request about users that cannot be carried out; the message says why."""

    status_code = 422


class InvalidAccountError(AccountError):
    """A value that is no username, role or project, or values that do not go together."""

    status_code = 400


class InvalidTokenError(Exception):
    """A credential that does not authenticate; the message says why."""

    status_code = 401


class AddressRefusedError(Exception):
    """A valid credential used from an address that is not allowed; the message names the address."""

    status_code = 403
