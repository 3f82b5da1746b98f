"""Paths: the API, its description, the admin site, monitoring."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView, TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.log_in import oidc
from ccbackend import __version__, errors, monitoring
from jobs.admin.my_jobs import my_jobs
from jobs.overview.job_link import newest_run

urlpatterns = [
    path("api/", include("jobs.api.urls")),
    path("api/", include("accounts.api.urls")),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(
        r"^api/docs/?$",
        SpectacularSwaggerSplitView.as_view(url_name="schema", template_name="api_docs.html"),
        name="docs",
    ),
    re_path(r"^api(?:/.*)?$", errors.api_not_found, name="no_such_path"),
    *(
        [
            path("oidc/callback/", oidc.CallbackView.as_view(), name="oidc_authentication_callback"),
            path("oidc/authenticate/", oidc.AuthenticationView.as_view(), name="oidc_authentication_init"),
        ]
        if settings.OIDC
        else []
    ),
    path("healthz", monitoring.healthz, name="healthz"),
    path("readyz", monitoring.readyz, name="readyz"),
    path("metrics", monitoring.metrics, name="metrics"),
    path("job/<str:cluster>/<str:job_id>", admin.site.admin_view(newest_run), name="job"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/my-jobs/", admin.site.admin_view(my_jobs), name="my_jobs"),
    path("admin/", admin.site.urls),
    path("", TemplateView.as_view(template_name="index.html", extra_context={"version": __version__}), name="index"),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.not_found
handler500 = errors.server_error
