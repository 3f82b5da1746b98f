"""The pages of tag rules: list, form, and the way to tag the jobs that are there already."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import ShowFacets
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts.admin.racing import RacingAdmin
from jobs.admin.forms import known_types
from jobs.admin.selection import actor_of
from jobs.bulk.selecting import begin_selection
from jobs.models import Tag
from jobs.records import TagRule
from jobs.states import BulkKind
from jobs.tag_rules.words import LONGEST, RuleError, conditions
from jobs.tags.ids import tag_ids

if TYPE_CHECKING:
    RuleModelAdmin = admin.ModelAdmin[TagRule]
    RuleModelForm = forms.ModelForm[TagRule]
else:
    RuleModelAdmin = admin.ModelAdmin
    RuleModelForm = forms.ModelForm

_LONGEST_NAME = 255
_HELP = "Such as user:alice state:failed,timeout, host:f01*, nodes:>64, limit:<5%, duration:>1h, -tag:perf, energy:>10."


class RuleForm(RuleModelForm):
    """A search and a tag, which is created if it is new."""

    words = forms.CharField(
        max_length=LONGEST, label="Search", help_text=_HELP, widget=forms.TextInput(attrs={"size": 90})
    )
    type = forms.CharField(
        max_length=_LONGEST_NAME,
        label="Tag's type",
        help_text="The kind of tag, e.g. perf.",
        widget=forms.TextInput(attrs={"list": "known-types"}),
    )
    name = forms.CharField(max_length=_LONGEST_NAME, label="Tag's name", help_text="The tag itself, e.g. memory-bound.")

    class Meta:
        """The fields of the form."""

        model = TagRule
        fields = ("words", "type", "name", "is_enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Show the tag of the rule, if it is there."""
        super().__init__(*args, **kwargs)
        if self.instance.pk and (tag := _tag_of(self.instance)):
            self.initial.update(type=tag.type, name=tag.name)

    def clean_words(self) -> str:
        """Refuse what is no search of fields."""
        words = " ".join(str(self.cleaned_data["words"]).split())
        try:
            conditions(words)
        except RuleError as error:
            raise forms.ValidationError(f"{error}.") from None
        return words

    def clean(self) -> dict[str, Any]:
        """Refuse the same rule twice."""
        data: dict[str, Any] = super().clean() or {}
        same = TagRule.objects.filter(words=data.get("words"), tag__type=data.get("type"), tag__name=data.get("name"))
        if same.exclude(pk=self.instance.pk).exists():
            self.add_error("words", "There is such a rule already: the same search gives the same tag.")
        return data


@admin.register(TagRule)
class TagRuleAdmin(RacingAdmin, RuleModelAdmin):
    """Rules by which jobs are tagged when they are archived."""

    form = RuleForm
    list_display = ("search", "tag_chip", "state")
    list_display_links = ("search",)
    list_per_page = 50
    sortable_by = ()
    ordering = ("words",)
    show_facets = ShowFacets.NEVER
    show_full_result_count = False
    change_form_template = "admin/jobs/tag/rule_form.html"
    change_list_template = "admin/jobs/tag/rule_list.html"

    def has_apply_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may tag the jobs that are there, as far as they are visible, by a rule."""
        return request.user.has_perm("jobs.tag_job")

    def get_fields(self, request: HttpRequest, obj: TagRule | None = None) -> tuple[str, ...]:
        """Return the fields of the form, or what is shown to those who may not change a rule."""
        if obj is None or self.has_change_permission(request, obj):
            return ("words", "type", "name", "is_enabled")
        return ("search", "tag_chip", "is_enabled")

    def get_readonly_fields(self, request: HttpRequest, obj: TagRule | None = None) -> tuple[str, ...]:
        """Return what cannot be changed."""
        return () if obj is None or self.has_change_permission(request, obj) else ("search", "tag_chip")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse: there are no filters."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[TagRule]:
        """Read the tags of all rules at once; a join would leave those out whose tag was deleted."""
        return super().get_queryset(request).prefetch_related("tag")

    def get_urls(self) -> list[URLPattern]:
        """Add the view of the button."""
        view = self.admin_site.admin_view
        return [
            path("<int:rule_id>/apply/", view(require_POST(self.apply_view)), name="jobs_tagrule_apply"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Set the title."""
        return super().changelist_view(request, {"title": "Rules", **(extra_context or {})})

    @admin.display(description="Search")
    def search(self, rule: TagRule) -> str:
        """Show the words."""
        return rule.words

    @admin.display(description="Tag")
    def tag_chip(self, rule: TagRule) -> SafeString | str:
        """Show the tag as on a job."""
        tag = _tag_of(rule)
        return format_html('<span class="chip">{}</span>', str(tag)) if tag else "deleted"

    @admin.display(description="State")
    def state(self, rule: TagRule) -> str:
        """Say why the rule tags no jobs, if it does not."""
        if not rule.is_enabled:
            return "off"
        return rule.error or ("" if _tag_of(rule) else "its tag was deleted") or "ok"

    def save_model(self, request: HttpRequest, obj: TagRule, form: Any, change: bool) -> None:  # noqa: FBT001
        """Store the rule with its tag."""
        pair = (form.cleaned_data["type"], form.cleaned_data["name"])
        obj.tag_id, obj.error = tag_ids([pair])[pair], ""
        list(Tag.objects.select_for_update(no_key=True).filter(pk=obj.tag_id))  # a merge into it moves rules there
        super().save_model(request, obj, form, change)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[str], list[Any]]:
        """Name the rules; their tags stay, on jobs too."""
        return [f"rule {rule}" for rule in objs], {"rules": len(objs)}, set(), []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the links of the page."""
        rule: TagRule | None = context.get("original")
        context["title"] = "Rule" if rule else "Add a rule"
        context["may_change"] = self.has_change_permission(request)
        context["known_tags"] = known_types()
        if rule is not None:
            state = self.state(rule)
            context |= {
                "subtitle": None,
                "problem": state if state not in ("ok", "off") else "",
                "jobs_url": reverse("admin:jobs_job_changelist", query={"q": rule.words}),
                "may_apply": self.has_apply_permission(request) and _tag_of(rule) is not None,
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def apply_view(self, request: HttpRequest, rule_id: int) -> HttpResponseBase:
        """Begin to select the jobs that match a rule, and lead to the page that tags them."""
        if not self.has_apply_permission(request) or not self.has_view_permission(request):
            raise PermissionDenied
        rule = TagRule.objects.filter(pk=rule_id).first()
        if rule is None:
            raise Http404
        tag = _tag_of(rule)
        if tag is None:
            self.message_user(request, "The tag of the rule was deleted.", messages.ERROR)
            return redirect("admin:jobs_tagrule_change", rule_id)
        change = begin_selection(
            kind=BulkKind.TAG,
            actor=actor_of(request),
            query=urlencode({"q": rule.words}),
            conditions=rule.words,
            wanted={"type": tag.type, "name": tag.name},
        )
        return redirect("admin:jobs_job_bulk", change.pk)


def _tag_of(rule: TagRule) -> Tag | None:
    """Return the tag of a rule, None if it was deleted."""
    try:
        return rule.tag
    except Tag.DoesNotExist:
        return None
