"""The page that imports users from a file: text, preview, apply."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts import user_import
from accounts.exceptions import AccountError
from accounts.formatting import quantity
from accounts.models import Role, User

_MOST_SHOWN = 200  # users of each kind


class ImportForm(forms.Form):
    """The text of a file: the server takes no files, so the page reads one into it."""

    text = forms.CharField(
        strip=False,
        label="Text",
        widget=forms.Textarea(attrs={"rows": 10, "cols": 90, "spellcheck": "false"}),
        help_text="The first line names the columns.",
    )


def import_view(request: HttpRequest) -> HttpResponse:
    """Ask for a file, show what it would do, and do it; the form of the preview carries the text."""
    form = ImportForm(request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        return _page(request, {"form": form})
    try:
        if "digest" not in request.POST:
            return _preview(request, form)
        assert isinstance(request.user, User)
        done = user_import.apply(form.cleaned_data["text"], actor=request.user, digest=request.POST["digest"])
    except user_import.FileError as error:
        form.add_error(None, f"{error}.")
        return _page(request, {"form": form})
    except AccountError as error:
        messages.error(request, f"Nothing was changed: {error}.")
        return _preview(request, form)
    text = f"{quantity(len(done.new), 'user')} created, {len(done.changed):,} changed."
    messages.success(request, text)
    if done.refused:
        messages.warning(request, f"{quantity(len(done.refused), 'line')} refused and left out.")
    return redirect("admin:accounts_user_changelist")


def _preview(request: HttpRequest, form: ImportForm) -> HttpResponse:
    plan = user_import.plan(form.cleaned_data["text"])
    context = {
        "plan": plan,
        "text": form.cleaned_data["text"],
        "new": plan.new[:_MOST_SHOWN],
        "changed": plan.changed[:_MOST_SHOWN],
        "refused": plan.refused[:_MOST_SHOWN],
        "most": _MOST_SHOWN,
        "button": f"Create {len(plan.new):,} and change {len(plan.changed):,}",
    }
    return _page(request, context)


def _page(request: HttpRequest, context: dict[str, Any]) -> TemplateResponse:
    site: AdminSite = admin.site
    shared = {
        **site.each_context(request),
        "title": "Import users from CSV",
        "columns": ", ".join(user_import.COLUMNS),
        "roles": ", ".join(Role.values),
        "trail": [(reverse("admin:accounts_user_changelist"), "Users")],
        "opts": User._meta,
    }
    return TemplateResponse(request, "admin/accounts/user/import.html", shared | context)
