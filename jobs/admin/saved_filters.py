"""Saved filters: each user can save the filters and the search of the job list under a name."""

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse

from accounts.models import User
from jobs.models import SavedFilter

if TYPE_CHECKING:
    FilterForm = forms.ModelForm[SavedFilter]
else:
    FilterForm = forms.ModelForm

_MOST = 50  # per user
_LONGEST = 4_000  # characters of an address
_NOT_SAVED = ("p", "e", "all", "tested", "found")  # page, error, show all, and what an earlier page found


class SaveFilterForm(FilterForm):
    """The name and query of a saved filter."""

    class Meta:
        """The fields to store."""

        model = SavedFilter
        fields = ("name", "query")

    def clean_query(self) -> str:
        """Return the query string without page and error."""
        query: str = self.cleaned_data["query"].lstrip("?")
        if len(query) > _LONGEST:
            raise forms.ValidationError(f"expected at most {_LONGEST} characters, got {len(query)}")
        return lasting(query)


def lasting(query: str) -> str:
    """Return the query string of a list without page, error, and what an earlier page found."""
    parameters = QueryDict(query, mutable=True)
    for name in _NOT_SAVED:
        parameters.pop(name, None)
    return parameters.urlencode()


def saved_by(request: HttpRequest) -> list[tuple[SavedFilter, str]]:
    """Return the saved filters of the user, each with its address."""
    listed = reverse("admin:jobs_job_changelist")
    own = SavedFilter.objects.filter(owner=_owner(request))[:_MOST]
    return [(each, f"{listed}?{each.query}") for each in own]


def save(request: HttpRequest) -> HttpResponse:
    """Save the current filters under a name; replace those with the same name."""
    form = SaveFilterForm(request.POST)
    query = request.POST.get("query", "").lstrip("?")
    if not form.is_valid():
        text = "; ".join(f"{name}: {error}" for name, errors in form.errors.items() for error in errors)
        messages.error(request, f"The filter was not saved. {text}")
    elif SavedFilter.objects.filter(owner=_owner(request)).exclude(name=form.cleaned_data["name"]).count() >= _MOST:
        messages.error(request, f"The filter was not saved: you already have {_MOST}; delete one first.")
    else:
        query = form.cleaned_data["query"]
        values = {"owner": _owner(request), "name": form.cleaned_data["name"]}
        SavedFilter.objects.update_or_create(**values, defaults={"query": query})
        messages.success(request, f"Saved as {form.cleaned_data['name']}.")
    return redirect(f"{reverse('admin:jobs_job_changelist')}?{query}")


def remove(request: HttpRequest, filter_id: int) -> HttpResponse:
    """Delete a saved filter of the user."""
    saved = get_object_or_404(SavedFilter, pk=filter_id, owner=_owner(request))
    saved.delete()
    messages.success(request, f"Deleted saved filter {saved.name}.")
    return redirect("admin:jobs_job_changelist")


def _owner(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
