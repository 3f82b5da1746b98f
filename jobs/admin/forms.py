"""Forms to tag, annotate, stop and delete jobs."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from archive import root
from jobs.curation import FACTS
from jobs.messages import TagName
from jobs.models import Tag
from jobs.states import JobState
from jobs.text import LATEST_TIME

if TYPE_CHECKING:
    TagChoice = forms.ModelChoiceField[Tag]
else:
    TagChoice = forms.ModelChoiceField

_LONGEST = 255
_MOST_TYPES = 100


def known_types() -> Iterable[str]:
    """Return the types of tags that there are, which a form proposes; a page that does not show them reads none."""
    return Tag.objects.order_by("type").values_list("type", flat=True).distinct()[:_MOST_TYPES]


class AddTagForm(forms.Form):
    """Choose a tag to add to jobs; it is created if it is new."""

    type = forms.CharField(max_length=_LONGEST, help_text="The kind of tag, e.g. perf.")
    name = forms.CharField(max_length=_LONGEST, help_text="The tag itself, e.g. memory-bound.")

    @property
    def tag(self) -> TagName:
        """Return the tag of a valid form."""
        return TagName(type=self.cleaned_data["type"], name=self.cleaned_data["name"])

    @property
    def wanted(self) -> dict[str, str]:
        """Return the same as a bulk change has it."""
        return {name: self.cleaned_data[name] for name in ("type", "name")}


class RemoveTagForm(forms.Form):
    """Choose a tag to remove from jobs."""

    tag = TagChoice(queryset=Tag.objects.none())

    def __init__(self, *args: Any, row_ids: list[int], **kwargs: Any) -> None:
        """Offer the tags of the jobs."""
        super().__init__(*args, **kwargs)
        field = self.fields["tag"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Tag.objects.filter(job_links__job_id__in=row_ids).distinct()


_LONGEST_NOTE = 2000


class NoteField(forms.CharField):
    """A note with the reason of a change."""

    def __init__(self, help_text: str) -> None:
        """Use a small text area."""
        area = forms.Textarea(attrs={"rows": 3, "cols": 70})
        super().__init__(max_length=_LONGEST_NOTE, widget=area, help_text=help_text)


class MomentField(forms.DateTimeField):
    """A date and time in the current zone."""

    def __init__(self, **options: Any) -> None:
        """Use the date picker of the browser."""
        widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")
        super().__init__(widget=widget, **options)

    def validate(self, value: Any) -> None:
        """Refuse a time after the year 3000."""
        super().validate(value)
        if value and value.timestamp() > LATEST_TIME:
            raise forms.ValidationError("Expected a time up to the year 3000.")

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> forms.BoundField:
        """Add the current zone, which depends on the request, to the help text."""
        bound = super().get_bound_field(form, field_name)
        bound.help_text = f"{self.help_text} Time zone: {timezone.get_current_timezone_name()}."
        return bound


class NoteForm(forms.Form):
    """A note on jobs."""

    note = NoteField("Visible to everybody who sees the job, and permanent: it becomes part of the job's history.")


class StopForm(forms.Form):
    """The state and end of jobs whose end the scheduler did not report."""

    state = forms.ChoiceField(
        choices=[(state.value, state.label.lower()) for state in JobState if state != JobState.RUNNING],
        initial=JobState.FAILED,
    )
    ended = MomentField(required=False, help_text="Leave empty for now.")
    note = NoteField("The reason for stopping it by hand. Visible to everybody who sees the job.")

    @property
    def stop_time(self) -> int:
        """Return the end of a valid form, in epoch seconds."""
        ended = self.cleaned_data["ended"]
        return int(time.time() if ended is None else ended.timestamp())


class BulkCorrectForm(forms.Form):
    """The new project and partition of many jobs, and the note why."""

    project = forms.CharField(required=False, max_length=_LONGEST, help_text="Leave empty to keep each job's own.")
    empty_project = forms.BooleanField(required=False, label="No project: remove each job's own")
    partition = forms.CharField(required=False, max_length=_LONGEST, help_text="Leave empty to keep each job's own.")
    empty_partition = forms.BooleanField(required=False, label="No partition: remove each job's own")
    note = NoteField("Why they are corrected. Everybody who sees one of the jobs can read it.")

    def clean(self) -> dict[str, Any]:
        """Refuse a new value beside the mark that there is to be none."""
        data: dict[str, Any] = super().clean() or {}
        for name in FACTS:
            if data.get(name) and data[f"empty_{name}"]:
                self.add_error(name, f"Either a new {name}, or none: empty this, or take the mark off.")
        return data

    @property
    def wanted(self) -> dict[str, str]:
        """Return the new values of a valid form, empty ones for what is to be removed, without what is to be kept."""
        data = self.cleaned_data
        return {name: data[name] for name in FACTS if data[name] or data[f"empty_{name}"]}


class CountForm(forms.Form):
    """Nothing to fill in, or the number of jobs, to be typed for a change that cannot be undone."""

    confirm = forms.CharField(
        label="Type the number of jobs to confirm",
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "numeric"}),
    )

    def __init__(self, *args: Any, number: int | None, **kwargs: Any) -> None:
        """Ask for the number, if one is given."""
        super().__init__(*args, **kwargs)
        self._number = number
        if number is None:
            del self.fields["confirm"]

    @property
    def wanted(self) -> dict[str, str]:
        """Return no new values: the jobs are deleted or archived."""
        return {}

    def clean_confirm(self) -> str:
        """Refuse another number."""
        typed = str(self.cleaned_data["confirm"])
        if typed.strip().replace(",", "") != str(self._number):
            raise forms.ValidationError(f"Nothing was changed: type {self._number:,} to confirm.")
        return typed


class DeleteBeforeForm(forms.Form):
    """Select the jobs to delete by their start."""

    before = MomentField(label="Started before", help_text="Jobs that started in that second are kept.")
    cluster = forms.ChoiceField(required=False)
    keep_tagged = forms.BooleanField(required=False, label="Keep tagged jobs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the configured clusters."""
        super().__init__(*args, **kwargs)
        names = sorted(root.registry().names())
        field = self.fields["cluster"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "all clusters"), *((name, name) for name in names)]
