"""The tag pages: list, tag, and the confirmation and progress of merging and deleting."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts.admin.racing import RacingAdmin
from accounts.formatting import quantity
from jobs.admin.forms import AddTagForm, known_types
from jobs.admin.selection import counted
from jobs.exceptions import JobError, TagExistsError
from jobs.models import Tag
from jobs.records import TagRule
from jobs.tags.counts import JobCount, job_counts
from jobs.tags.services import BATCH, delete_tags, merge_tags, rename_tag
from jobs.text import is_whole

if TYPE_CHECKING:
    TagModelAdmin = admin.ModelAdmin[Tag]
else:
    TagModelAdmin = admin.ModelAdmin

# Seconds that a request works on a large merge or deletion, before its page sends the next request.
_ROUND = 1.0

_MOST_CHOSEN = 1_000  # tags per merge or deletion
_MOST_SHOWN = 50  # tags on the confirmation page


class TagChangeList(ChangeList):
    """Django's list; jobs are counted only for the tags of the current page."""

    def get_results(self, request: HttpRequest) -> None:
        """Add the number of jobs to each tag."""
        super().get_results(request)
        self.result_list = _with_counts(list(self.result_list), request.user)


@admin.register(Tag)
class TagAdmin(RacingAdmin, TagModelAdmin):
    """Add, rename, merge and delete tags; the archive follows."""

    list_display = ("tag", "job_count")
    list_display_links = ("tag",)
    list_filter = ("type",)
    list_per_page = 50
    search_fields = ("type", "name")
    ordering = ("type", "name")
    fields = ("type", "name")
    sortable_by = ()
    show_facets = ShowFacets.NEVER
    actions = ("merge_tags", "delete_tags")
    change_form_template = "admin/jobs/tag/change_form.html"

    # --- permissions ---

    def has_change_permission(self, request: HttpRequest, obj: Tag | None = None) -> bool:
        """Refuse Django's form: it saves in a single transaction, too large for a tag with a million jobs."""
        return False

    def has_curate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may rename, merge and delete tags."""
        return request.user.has_perm("jobs.change_tag") and request.user.has_perm("jobs.delete_tag")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow only the filter: patterns can take for ever, and links would tell of hidden jobs."""
        return lookup == "type"

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out Django's deletion, which would load every link and not update the archive."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def get_urls(self) -> list[URLPattern]:
        """Add the views of the forms."""
        view = self.admin_site.admin_view
        return [
            path("selection/merge/", view(require_POST(self.merge_view)), name="jobs_tag_merge"),
            path("selection/delete/", view(require_POST(self.delete_selection_view)), name="jobs_tag_delete_selection"),
            path("<int:tag_id>/rename/", view(require_POST(self.rename_view)), name="jobs_tag_rename"),
            *super().get_urls(),
        ]

    # --- the list ---

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that counts few jobs."""
        return TagChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Set the title of the page."""
        return super().changelist_view(request, {"title": "Tags", **(extra_context or {})})

    @admin.display(description="Tag")
    def tag(self, tag: Tag) -> SafeString:
        """Show the tag as on a job."""
        return format_html('<span class="chip">{}</span>', str(tag))

    @admin.display(description="Jobs")
    def job_count(self, tag: Tag) -> SafeString | str:
        """Show the number of jobs, with a link to them."""
        return _linked(tag, tag.job_count)  # type: ignore[attr-defined]  # set by _with_counts

    # --- one tag ---

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the content of the tag page."""
        tag: Tag | None = context.get("original")
        context["title"] = f"Tag {tag}" if tag else "Add a tag"
        if tag is not None:
            count = job_counts([tag.pk], request.user)[tag.pk]
            form = AddTagForm(initial={"type": tag.type, "name": tag.name}, auto_id="new_%s")
            context |= {
                "subtitle": None,
                "may_curate": self.has_curate_permission(request),
                "jobs": _linked(tag, count),
                "may_see_rules": request.user.has_perm("jobs.view_tagrule"),
                "rules": TagRule.objects.filter(tag=tag).order_by("words"),
                "form": form,
                "known_tags": known_types(),
                "at_once": BATCH,
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def rename_view(self, request: HttpRequest, tag_id: int) -> HttpResponseBase:
        """Rename a tag; if another tag has the name, ask whether to merge the two."""
        self._require_curate(request)
        tag = self.get_object(request, str(tag_id))
        if tag is None:
            raise Http404
        form = AddTagForm(request.POST)
        if not form.is_valid():
            return self._refused(request, tag, "A tag needs a type and a name of up to 255 characters each.")
        wanted = form.tag
        type_, name = wanted.type or "", wanted.name or ""
        if (type_, name) == (tag.type, tag.name):
            return self._refused(request, tag, "The tag already has this name; nothing was changed.")
        try:
            renamed = rename_tag(tag_id=tag_id, type_=type_, name=name)
        except TagExistsError:
            return self._ask_to_merge(request, [*Tag.objects.filter(type=type_, name=name), tag])
        except JobError as error:
            return self._refused(request, tag, str(error))
        if renamed.pk == tag_id:
            self.log_change(request, renamed, f"Renamed from {tag}.")
            self.message_user(request, f"Tag {tag} is now {renamed}.", messages.SUCCESS)
            return redirect("admin:jobs_tag_change", tag_id)
        self.log_addition(request, renamed, f"Created as the new name of {tag}.")
        return self._merge_round(request, [tag], renamed, jobs=0)

    # --- merging and deleting: after a confirmation, each request works for a second, and its page sends the next ---

    @admin.action(description="Merge selected tags", permissions=["curate"])
    def merge_tags(self, request: HttpRequest, queryset: QuerySet[Tag]) -> HttpResponseBase | None:
        """Ask which tag to keep."""
        tags = self._few_enough(request, queryset)
        if len(tags) == 1:
            self.message_user(request, "Select two tags or more to merge.", messages.WARNING)
        return self._ask_to_merge(request, tags) if len(tags) > 1 else None

    @admin.action(description="Delete selected tags", permissions=["curate"])
    def delete_tags(self, request: HttpRequest, queryset: QuerySet[Tag]) -> HttpResponseBase | None:
        """Ask for confirmation, with the number of jobs of each tag."""
        tags = self._few_enough(request, queryset)
        return self._ask_to_delete(request, tags) if tags else None

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Ask for confirmation to delete a single tag."""
        self._require_curate(request)
        tag = self.get_object(request, object_id)
        if tag is None:
            raise Http404
        return self._ask_to_delete(request, [tag])

    def merge_view(self, request: HttpRequest) -> HttpResponseBase:
        """Start or continue to merge tags."""
        tags = self._posted(request)
        into = request.POST.get("into", "")
        target = Tag.objects.filter(pk=int(into)).first() if is_whole(into) else None
        if target is None:
            self.message_user(request, "The tag to merge into does not exist any more.", messages.ERROR)
            return redirect("admin:jobs_tag_changelist")
        return self._merge_round(request, [tag for tag in tags if tag != target], target, jobs=_done(request))

    def delete_selection_view(self, request: HttpRequest) -> HttpResponseBase:
        """Start or continue to delete tags."""
        tags, done = self._posted(request), _done(request)
        if "done" not in request.POST:
            self._log(request, tags, CHANGE, "Deletion started.")
        progress = delete_tags(tag_ids=[tag.pk for tag in tags], seconds=_ROUND)
        left = self._log_gone(request, tags, progress.gone, "Deleted, and removed from its jobs.")
        done += progress.jobs
        if left:
            context = {"title": "Deleting tags", "action_url": reverse("admin:jobs_tag_delete_selection")}
            return self._progress_page(request, left, done, context)
        self.message_user(request, f"Deleted {_names(tags)} from {counted(done)}.", messages.SUCCESS)
        return redirect("admin:jobs_tag_changelist")

    # --- shared by merging and deleting ---

    def _merge_round(self, request: HttpRequest, tags: list[Tag], target: Tag, *, jobs: int) -> HttpResponseBase:
        """Merge for a second; then show the progress, or the merged tag."""
        if "done" not in request.POST:
            self._log(request, tags, CHANGE, f"Merging into {target} started.")
        try:
            progress = merge_tags(tag_ids=[tag.pk for tag in tags], into=target.pk, seconds=_ROUND)
        except JobError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:jobs_tag_changelist")
        left = self._log_gone(request, tags, progress.gone, f"Merged into {target}.")
        gone = [tag for tag in tags if tag not in left]
        if gone:
            self.log_change(request, target, f"Merged {_names(gone)} into it.")
        jobs += progress.jobs
        if left:
            context = {
                "title": f"Merging into {target}",
                "target": target,
                "action_url": reverse("admin:jobs_tag_merge"),
            }
            return self._progress_page(request, left, jobs, context)
        self.message_user(request, f"Merged into {target}; {counted(jobs)} changed.", messages.SUCCESS)
        return redirect("admin:jobs_tag_change", target.pk)

    def _require_curate(self, request: HttpRequest) -> None:
        if not self.has_curate_permission(request):
            raise PermissionDenied

    def _few_enough(self, request: HttpRequest, queryset: QuerySet[Tag]) -> list[Tag]:
        """Return the selected tags; if there are too many, show an error and return none."""
        tags = list(queryset.order_by("type", "name")[: _MOST_CHOSEN + 1])
        if len(tags) > _MOST_CHOSEN:
            text = f"More than {_MOST_CHOSEN:,} tags are selected; nothing was done. Select fewer."
            self.message_user(request, text, messages.ERROR)
            return []
        return tags

    def _posted(self, request: HttpRequest) -> list[Tag]:
        """Return the tags in a form that still exist."""
        self._require_curate(request)
        words = request.POST.get("tags", "").split(",")
        if len(words) > _MOST_CHOSEN or not all(is_whole(word) for word in words):
            raise PermissionDenied
        return list(Tag.objects.filter(pk__in=[int(word) for word in words]).order_by("type", "name"))

    def _ask_to_merge(self, request: HttpRequest, tags: list[Tag]) -> TemplateResponse:
        context = {"title": "Merge tags", "action_url": reverse("admin:jobs_tag_merge")}
        return self._page(request, "admin/jobs/tag/merge.html", tags, context)

    def _ask_to_delete(self, request: HttpRequest, tags: list[Tag]) -> TemplateResponse:
        context = {
            "title": "Delete tags" if len(tags) > 1 else "Delete a tag",
            "rules": TagRule.objects.filter(tag__in=tags, is_enabled=True).count(),
            "action_url": reverse("admin:jobs_tag_delete_selection"),
        }
        return self._page(request, "admin/jobs/tag/delete.html", tags, context)

    def _progress_page(
        self, request: HttpRequest, tags: list[Tag], done: int, context: dict[str, Any]
    ) -> TemplateResponse:
        return self._page(
            request, "admin/jobs/tag/progress.html", tags, context | {"done": done, "done_words": counted(done)}
        )

    def _page(self, request: HttpRequest, template: str, tags: list[Tag], context: dict[str, Any]) -> TemplateResponse:
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "tag_ids": ",".join(str(tag.pk) for tag in tags),
            "shown": _with_counts(tags[:_MOST_SHOWN], request.user),
            "more": max(0, len(tags) - _MOST_SHOWN),
            "total": len(tags),
        }
        return TemplateResponse(request, template, shared | context)

    def _log(self, request: HttpRequest, tags: list[Tag], flag: int, message: str) -> None:
        """Add entries to the history of tags."""
        LogEntry.objects.log_actions(request.user.pk, tags, flag, change_message=message)  # type: ignore[arg-type]

    def _log_gone(self, request: HttpRequest, tags: list[Tag], gone: list[int], message: str) -> list[Tag]:
        """Log the deletion of the tags that are gone; return the others."""
        self._log(request, [tag for tag in tags if tag.pk in gone], DELETION, message)
        return [tag for tag in tags if tag.pk not in gone]

    def _refused(self, request: HttpRequest, tag: Tag, text: str) -> HttpResponse:
        self.message_user(request, text, messages.ERROR)
        return redirect("admin:jobs_tag_change", tag.pk)


def _with_counts(tags: list[Tag], user: Any) -> list[Tag]:
    """Set `job_count` on each tag: the number of its jobs that the user may see."""
    counts = job_counts([tag.pk for tag in tags], user)
    for tag in tags:
        tag.job_count = counts.get(tag.pk, JobCount(0))  # type: ignore[attr-defined]
    return tags


def _linked(tag: Tag, count: JobCount) -> SafeString | str:
    if not count.jobs:
        return str(count)
    return format_html('<a href="{}">{}</a>', reverse("admin:jobs_job_changelist", query={"tag": tag.pk}), str(count))


def _done(request: HttpRequest) -> int:
    """Return the number of jobs that previous rounds changed, for display only."""
    text = request.POST.get("done", "0")
    return int(text) if is_whole(text) else 0


def _names(tags: list[Tag]) -> str:
    return str(tags[0]) if len(tags) == 1 else quantity(len(tags), "tag")
