"""The exceptions of the accounts app, each with the HTTP status of the API response."""


class AccountError(Exception):
    """A refused change of a user; the message gives the reason."""

    status_code = 422


class InvalidAccountError(AccountError):
    """An invalid username, role or project, or values that do not go together."""

    status_code = 400


class InvalidTokenError(Exception):
    """A token that does not authenticate; the message gives the reason."""

    status_code = 401
    is_repeated = False
    """Whether its address has sent many bad tokens."""


class AddressRefusedError(Exception):
    """A valid credential, used from an address that is not allowed; the message names the address."""

    status_code = 403
