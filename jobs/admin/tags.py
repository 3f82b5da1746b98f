"""The tag pages."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.options import ShowFacets
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import Role, User
from jobs import tasks
from jobs.models import Job, JobTag, Tag

if TYPE_CHECKING:
    TagModelAdmin = admin.ModelAdmin[Tag]
else:
    TagModelAdmin = admin.ModelAdmin


@admin.register(Tag)
class TagAdmin(TagModelAdmin):
    """Tags: support adds them, admins rename and delete them; the archive follows."""

    list_display = ("tag", "job_count")
    list_display_links = ("tag",)
    list_filter = ("type",)
    list_per_page = 100
    search_fields = ("type", "name")
    ordering = ("type", "name")
    fields = ("type", "name", "job_count")
    readonly_fields = ("job_count",)
    sortable_by = ()
    show_facets = ShowFacets.NEVER
    actions = ("delete_tags",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tag]:
        """Count the jobs that the user sees."""
        links = JobTag.objects.filter(tag=OuterRef("pk")).order_by()
        user = request.user
        if not (isinstance(user, User) and user.has_role(Role.ADMIN, Role.SUPPORT)):
            links = links.filter(job__in=Job.objects.visible_to(user))
        counted = links.values("tag").annotate(count=Count("pk")).values("count")
        return super().get_queryset(request).annotate(jobs_seen=Coalesce(Subquery(counted), 0))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out Django's deletion: it would load every link and not tell the archive."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list under its own title."""
        return super().changelist_view(request, {"title": "Tags", **(extra_context or {})})

    @admin.display(description="Tag")
    def tag(self, tag: Tag) -> SafeString:
        """Show the tag as it looks on a job."""
        return format_html('<span class="chip">{}</span>', str(tag))

    @admin.display(description="Jobs")
    def job_count(self, tag: Tag) -> SafeString | str:
        """Show how many jobs have it, linked to them."""
        count = getattr(tag, "jobs_seen", 0)
        if not count:
            return "0"
        listed = reverse("admin:jobs_job_changelist", query={"tag": tag.pk})
        return format_html('<a href="{}">{}</a>', listed, f"{count:,}")

    def save_model(self, request: HttpRequest, obj: Tag, form: Any, change: bool) -> None:  # noqa: FBT001
        """Store the tag; a new name goes to the archive with the jobs that have it."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if change and form.changed_data:
                _record_edit_of_jobs_with([obj.pk])

    def delete_model(self, request: HttpRequest, obj: Tag) -> None:
        """Delete one tag."""
        _delete_tags([obj.pk])

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[str], list[Any]]:
        """Say what goes without loading the links of perhaps a million jobs."""
        lines = [
            f"{tag}, on {JobTag.objects.filter(tag=tag).count():,} jobs (the jobs themselves stay)" for tag in objs
        ]
        return lines, {"tags": len(lines)}, set(), []

    @admin.action(description="Delete selected tags that no job has", permissions=["delete"])
    def delete_tags(self, request: HttpRequest, queryset: QuerySet[Tag]) -> None:
        """Delete what is unused at once; a tag in use is deleted on its own page, which says on how many jobs it is."""
        chosen = set(queryset.values_list("pk", flat=True))
        used = set(JobTag.objects.filter(tag__in=chosen).values_list("tag_id", flat=True).distinct())
        _delete_tags(sorted(chosen - used))
        self.message_user(request, f"{len(chosen - used)} unused tags deleted.", messages.SUCCESS)
        if used:
            text = f"{len(used)} tags are on jobs and were kept: delete such a tag on its own page."
            self.message_user(request, text, messages.WARNING)


def _record_edit_of_jobs_with(tag_ids: list[int]) -> None:
    """Let meta.json of the jobs that have these tags follow; locks the jobs until the transaction ends."""
    jobs = JobTag.objects.filter(tag__in=tag_ids)
    row_ids = list(
        Job.objects.select_for_update().filter(pk__in=jobs.values("job_id")).order_by("pk").values_list("pk", flat=True)
    )
    for begin in range(0, len(row_ids), _BATCH):
        tasks.record_edit(row_ids[begin : begin + _BATCH])


def _delete_tags(tag_ids: list[int]) -> None:
    """Delete tags with their links and record the edit of each job that had one, all or nothing."""
    with transaction.atomic():
        _record_edit_of_jobs_with(tag_ids)
        JobTag.objects.filter(tag__in=tag_ids).delete()
        Tag.objects.filter(pk__in=tag_ids).delete()


_BATCH = 5_000  # row ids per statement
