"""Forms that two requests send at the same moment: both are checked before either is stored."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import IntegrityError
from django.http import HttpRequest

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = admin.ModelAdmin


class RacingAdmin(AnyModelAdmin):
    """Checks a form again that was refused when it was stored, so that the form itself says why."""

    refusals: tuple[type[Exception], ...] = (IntegrityError,)
    """What storing raises if another request was first."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show or store the form; nothing of a refused attempt is left, and what the other request stored is seen."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except self.refusals:
            return super().changeform_view(request, object_id, form_url, extra_context)
