"""The log-in form of the admin site, which logs and counts each log-in that is refused."""

import logging
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from accounts.addresses import client_address
from jobs.health import counting
from jobs.states import CallOutcome

logger = logging.getLogger(__name__)


class LogInForm(AdminAuthenticationForm):
    """Django's log-in form; a refused log-in is logged and counted with name and address, never with the password."""

    def clean(self) -> dict[str, Any]:
        """Check name and password; raise ValidationError."""
        try:
            return super().clean()
        except ValidationError:
            assert self.request is not None
            name, address = self.cleaned_data.get("username") or "", client_address(self.request)
            logger.warning("log-in refused from %s as %s", address, name)
            message = f"as {name}"
            counting.refused(
                address, counting.LOG_IN, CallOutcome.REFUSED, message, address=address, status=403, is_known=False
            )
            raise
