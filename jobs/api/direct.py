"""Calls of tokens that are known, without a request of Django's and a view of DRF's, which take longer than a list.

Only what succeeds is answered here: any other call is then made by its view, which carries it out or says why not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import Error

from accounts.addresses import address_in
from accounts.api.authentication import sent_token
from accounts.api.permissions import is_in_scope
from accounts.credentials import Credential, remembered_user
from accounts.models import Role
from jobs.api import parameters
from jobs.api.pages import page_at_once
from jobs.api.views import JobViewSet
from jobs.exceptions import JobError


@dataclass(slots=True)
class Call:
    """A call with its WSGI environment, and its answer once it was carried out here."""

    action: str
    environ: Mapping[str, Any]
    body: bytes
    begin: float
    """When it was taken up (perf_counter)."""
    source: str = ""
    """What the call is counted by, see accounts.credentials."""
    status: int = 0
    """That of the answer; 0 if the view has to make the call."""
    answer: bytes = b""


def allowed(call: Call) -> Credential | None:
    """Return the token of a call that its user and its scope allow; None if that needs a closer look."""
    token = sent_token(call.environ)
    found = None if token is None else remembered_user(token, address_in(call.environ))
    if found is None:
        return None
    user, credential = found
    if not (user.has_role(Role.API) and is_in_scope(credential, JobViewSet.scopes, call.action)):
        return None
    call.source = credential.source
    return credential


def answer_list(call: Call, pages: dict[str, bytes] | None) -> None:
    """Answer a list if its token is not limited and the database encodes its page at once; raise WouldWait.

    Of `pages`, if given, a page that another call has asked for already is taken, and others are added to it.
    """
    credential, query = allowed(call), call.environ.get("QUERY_STRING", "")
    if credential is None or credential.is_limited or "%00" in query:
        return
    page = pages.get(query) if pages else None
    if page is None:
        try:
            page = page_at_once(parameters.parse(parameters.read_query(query)))
        except (JobError, Error, SuspiciousOperation):
            return
    if page is not None:
        call.status, call.answer = 200, page
        if pages is not None:
            pages[query] = page
