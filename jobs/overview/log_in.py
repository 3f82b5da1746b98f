"""The log-in form of the admin site, which logs and counts each log-in that is refused."""

import logging
from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from accounts.addresses import client_address
from jobs.health import counting
from jobs.states import CallOutcome

logger = logging.getLogger(__name__)


class LogInForm(AdminAuthenticationForm):
    """Django's log-in form; a refused log-in is logged and counted with name and address, never with the password.

    After LOGIN_FAILURES of them django-axes locks the name for the address.
    """

    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": "The username or the password is wrong. Mind upper and lower case.",
        "no_role": "This account has no role that may use this site. An administrator can give it one.",
    }

    def confirm_login_allowed(self, user: Any) -> None:
        """Raise ValidationError if the user may not use the site."""
        AuthenticationForm.confirm_login_allowed(self, user)
        if not user.is_staff:
            raise ValidationError(self.error_messages["no_role"], code="no_role")

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
            if not getattr(self.request, "axes_locked_out", False):
                raise
            minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
            if self.request.axes_failures_since_start:  # type: ignore[attr-defined]  # this one was the last of them
                failures = settings.LOGIN_FAILURES
                logger.warning(
                    "log-ins from %s as %s locked for %s min after %s failures", address, name, minutes, failures
                )
            text = f"Too many refused log-ins as this user from this address: try again in {minutes} minutes."
            raise ValidationError(text, code="locked") from None
