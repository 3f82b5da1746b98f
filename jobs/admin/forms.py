"""The small forms of tagging."""

import time
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from archive import root
from jobs.messages import TagName
from jobs.models import Tag
from jobs.states import JobState

if TYPE_CHECKING:
    TagChoice = forms.ModelChoiceField[Tag]
else:
    TagChoice = forms.ModelChoiceField

_LONGEST = 255


class AddTagForm(forms.Form):
    """Name a tag to put on jobs; a new one is created."""

    type = forms.CharField(max_length=_LONGEST, help_text="What kind of label it is, e.g. perf.")
    name = forms.CharField(max_length=_LONGEST, help_text="The label itself, e.g. memory-bound.")

    @property
    def tag(self) -> TagName:
        """Return the named tag of a valid form."""
        return TagName(type=self.cleaned_data["type"], name=self.cleaned_data["name"])


class RemoveTagForm(forms.Form):
    """Choose a tag to take from jobs: one of those that they have."""

    tag = TagChoice(queryset=Tag.objects.none())

    def __init__(self, *args: Any, row_ids: list[int], **kwargs: Any) -> None:
        """Offer the tags of these jobs."""
        super().__init__(*args, **kwargs)
        field = self.fields["tag"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Tag.objects.filter(job_links__job_id__in=row_ids).distinct()


_LONGEST_NOTE = 2000


class NoteField(forms.CharField):
    """Why something is done."""

    def __init__(self, help_text: str) -> None:
        """Ask on some lines."""
        area = forms.Textarea(attrs={"rows": 3, "cols": 70})
        super().__init__(max_length=_LONGEST_NOTE, widget=area, help_text=help_text)


class MomentField(forms.DateTimeField):
    """A date and time in the viewer's zone."""

    def __init__(self, **options: Any) -> None:
        """Let the browser offer a calendar."""
        widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")
        super().__init__(widget=widget, **options)

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> forms.BoundField:
        """Say which zone that is, which each request may have another of."""
        bound = super().get_bound_field(form, field_name)
        bound.help_text = f"{self.help_text} In the zone {timezone.get_current_timezone_name()}."
        return bound


class NoteForm(forms.Form):
    """A note to jobs."""

    note = NoteField("Everybody who sees the job can read it. It goes into the job's history and cannot be changed.")


class StopForm(forms.Form):
    """The state and end of jobs that the scheduler never reported."""

    state = forms.ChoiceField(
        choices=[(state.value, state.label.lower()) for state in JobState if state != JobState.RUNNING],
        initial=JobState.FAILED,
    )
    ended = MomentField(required=False, help_text="Empty: now.")
    note = NoteField("Why it is stopped by hand. Everybody who sees the job can read it.")

    @property
    def stop_time(self) -> int:
        """Return the end of a valid form, in epoch seconds."""
        ended = self.cleaned_data["ended"]
        return int(time.time() if ended is None else ended.timestamp())


class DeleteBeforeForm(forms.Form):
    """Which jobs are to go."""

    before = MomentField(label="Started before", help_text="Jobs that started at that very second stay.")
    cluster = forms.ChoiceField(required=False)
    keep_tagged = forms.BooleanField(required=False, label="Keep tagged jobs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the clusters that the archive knows."""
        super().__init__(*args, **kwargs)
        names = sorted(root.registry().names())
        field = self.fields["cluster"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "all clusters"), *((name, name) for name in names)]
