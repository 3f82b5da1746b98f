"""The small forms of tagging."""

from typing import TYPE_CHECKING, Any

from django import forms

from jobs.messages import TagName
from jobs.models import Tag

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
