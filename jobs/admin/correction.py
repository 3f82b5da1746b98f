"""The forms of curation: correct a job, note something, stop by hand, delete everything before a time."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.validators import ProhibitNullCharactersValidator
from django.forms import BaseFormSet, formset_factory
from django.http import QueryDict
from msgspec import UNSET

from jobs.admin.forms import NoteField
from jobs.curation import FACTS, LONGEST, METADATA, Edit, FieldValue, fields_of, fingerprint
from jobs.models import Job
from jobs.text import clean_text

if TYPE_CHECKING:
    KeyFormSet = BaseFormSet["KeyForm"]
else:
    KeyFormSet = BaseFormSet

MOST_EDITED = 1_000_000
"""Characters of a text that the page offers to edit; a longer one can be removed."""

_LINE = 80  # characters of a text that is edited on one line
_FEW_ROWS, _MANY_ROWS = 2, 24


class FactsForm(forms.Form):
    """Project and partition, each with the fingerprint of the value when the page was opened, and the note why."""

    project = forms.CharField(required=False, max_length=LONGEST, strip=False)
    project_opened = forms.CharField(widget=forms.HiddenInput)
    partition = forms.CharField(required=False, max_length=LONGEST, strip=False)
    partition_opened = forms.CharField(widget=forms.HiddenInput)
    note = NoteField("Why it is corrected. Everybody who sees the job can read it.")


class KeyForm(forms.Form):
    """One key of the metadata: a known one with the fingerprint of its value when the page was opened, or a new one."""

    key = forms.CharField(strip=False, required=False)
    opened = forms.CharField(widget=forms.HiddenInput, required=False)
    text = forms.CharField(required=False, strip=False)
    is_null = forms.BooleanField(required=False, label="null")
    remove = forms.BooleanField(required=False, label="Remove")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Give a text as much room as it needs."""
        super().__init__(*args, **kwargs)
        text = str(self["text"].value() or "")
        rows = min(max(_FEW_ROWS, text.count("\n") + 2), _MANY_ROWS)
        if not self["opened"].value() or "\n" in text or len(text) > _LINE:
            self.fields["text"].widget = forms.Textarea(attrs={"rows": rows if text else _FEW_ROWS, "cols": _LINE})
        for validated in ("key", "text"):  # characters that PostgreSQL refuses are removed instead, see clean_text
            field = self.fields[validated]
            field.validators = [
                test for test in field.validators if not isinstance(test, ProhibitNullCharactersValidator)
            ]

    def clean_key(self) -> str:
        """Return the key without characters that PostgreSQL refuses, as in a scheduler's reports."""
        return clean_text(self.cleaned_data["key"])

    def clean(self) -> dict[str, Any]:
        """Refuse a text beside null, and a text without a key."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("remove"):
            return data
        if data.get("is_null") and data.get("text"):
            self.add_error("text", "A key that is null has no text: empty it, or take the mark at null off.")
        is_new, key = not data.get("opened"), data.get("key", "")
        if is_new and not key and (data.get("text") or data.get("is_null")):
            self.add_error("key", "Give the key a name.")
        if is_new and len(key) > LONGEST:
            self.add_error("key", f"A key has at most {LONGEST} characters.")
        return data

    @property
    def is_kept(self) -> bool:
        """Return whether the page has no field for the text: one that is too long stays, or goes with its key."""
        return self.add_prefix("text") not in self.data if self.is_bound else bool(self.initial.get("is_kept"))

    @property
    def value(self) -> FieldValue:
        """Return the value that a valid form wants for the key."""
        if self.cleaned_data["remove"]:
            return UNSET
        return None if self.cleaned_data["is_null"] else str(self.cleaned_data["text"])


class _KeyForms(KeyFormSet):
    """All keys of the metadata, and some rows for new ones."""

    def clean(self) -> None:
        """Refuse a key twice."""
        names = Counter(form.cleaned_data.get("key") for form in self.forms if form.is_valid())
        twice = {name for name, number in names.items() if name and number > 1}
        if twice:
            raise forms.ValidationError(f"Keys that come twice: {', '.join(sorted(twice))}.")


_keys = formset_factory(KeyForm, formset=_KeyForms, extra=2)


class Correction:
    """The whole form of a correction: facts, keys and note."""

    def __init__(self, job: Job, data: QueryDict | None = None) -> None:
        """Show the values of the job, or those that were sent."""
        fields = fields_of(job)
        self.has_odd_metadata = bool(job.meta_data) and len(fields) == len(FACTS)
        self.data = data
        self.facts = FactsForm(data, initial=_facts(fields))
        self.keys = _keys(data, prefix="key", initial=None if data else _rows(fields))

    def is_valid(self) -> bool:
        """Return whether all parts are valid."""
        return all([self.facts.is_valid(), self.keys.is_valid()])

    @property
    def note(self) -> str:
        """Return the note why."""
        return str(self.facts.cleaned_data["note"])

    @property
    def edits(self) -> list[Edit]:
        """Return the edits that a valid form wants."""
        facts = self.facts.cleaned_data
        edits = [Edit(name, facts[f"{name}_opened"], facts[name]) for name in FACTS if name in self.facts.data]
        for row in self.keys.forms:
            entry = row.cleaned_data
            if entry.get("key") and (entry["remove"] or entry["is_null"] or not row.is_kept):
                edits.append(Edit(METADATA + entry["key"], entry["opened"] or fingerprint(UNSET), row.value))
        return edits

    def after(self, conflicts: Mapping[str, str], job: Job) -> "Correction":
        """Return the form with the changes of others named, so that sending it once more replaces them knowingly."""
        assert self.data is not None
        now, data = fields_of(job), self.data.copy()
        for name in FACTS:
            if name in conflicts:
                data[f"{name}_opened"] = fingerprint(now[name])
        rows = {METADATA + row.cleaned_data.get("key", ""): row.prefix for row in self.keys.forms}
        for name, prefix in rows.items():
            if name in conflicts:
                data[f"{prefix}-opened"] = fingerprint(now.get(name, UNSET))
        fresh = Correction(job, data)
        fresh.is_valid()
        for name, reason in conflicts.items():
            text = f"{reason}. Save once more to replace it, or put in what it is now."
            if name in FACTS:
                fresh.facts.add_error(name, text)
            else:
                next(row for row in fresh.keys.forms if row.prefix == rows[name]).add_error("text", text)
        return fresh


def _facts(fields: Mapping[str, FieldValue]) -> dict[str, Any]:
    values = {name: fields[name] for name in FACTS}
    return values | {f"{name}_opened": fingerprint(value) for name, value in values.items()}


def _rows(fields: Mapping[str, FieldValue]) -> list[dict[str, Any]]:
    """Return the initial values of the rows of the metadata, short texts first."""
    rows = []
    for name, value in fields.items():
        if name.startswith(METADATA):
            text = value if isinstance(value, str) else ""
            is_kept = len(text) > MOST_EDITED
            rows.append(
                {
                    "key": name.removeprefix(METADATA),
                    "opened": fingerprint(value),
                    "is_kept": is_kept,
                    "text": "" if is_kept else text,
                    "is_null": value is None,
                }
            )
    return sorted(rows, key=lambda row: len(str(row["text"])))
