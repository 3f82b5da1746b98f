"""Serve static files compressed; of Bokeh, only the files that the pages use.

Their addresses contain a hash of the release (STATIC_URL), so browsers cache them. `collectstatic` is not needed:
gunicorn serves the files directly from the installed packages.
"""

import gzip
import importlib.util
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers
from whitenoise.middleware import WhiteNoiseMiddleware

from ccbackend.compression import takes_gzip

_BOKEH_FILES = ("bokeh.min.js", "bokeh-api.min.js")
_COMPRESSIBLE = re.compile(r"text/|application/json|image/svg")


class BokehFinder(BaseFinder):
    """Find BokehJS in Bokeh's package, because clusters cannot reach a CDN; importing Bokeh would take a second."""

    def __init__(self, app_names: Any = None, *args: Any, **kwargs: Any) -> None:
        """Look for the package."""
        spec = importlib.util.find_spec("bokeh")
        folders = list(spec.submodule_search_locations or ()) if spec else []
        self.folder = Path(folders[0], "server", "static", "js") if folders else None
        super().__init__(*args, **kwargs)

    def check(self, **kwargs: Any) -> list[Any]:
        """Report nothing: there is nothing to configure."""
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002  Django's signature
        """Return the path of `bokeh/NAME`, in a list if all are asked for; an empty list if there is no such file."""
        package, _, name = path.partition("/")
        if self.folder is None or package != "bokeh" or name not in _BOKEH_FILES:
            return []
        found = str(self.folder / name)
        return [found] if find_all or kwargs.get("all") else found

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[Any]:
        """Yield each file's name with its storage."""
        if self.folder is not None:
            storage = FileSystemStorage(location=str(self.folder))
            storage.prefix = "bokeh"  # type: ignore[attr-defined]  # read by collectstatic and whitenoise
            yield from ((name, storage) for name in _BOKEH_FILES)


@lru_cache(maxsize=500)
def _gzipped(path: str, etag: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), mtime=0)


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise has no annotations
    """WhiteNoise, but each file is compressed at its first request and cached in memory: 1 MB for all files."""

    def add_files(self, root: str, prefix: str | None = None) -> None:
        """Ignore STATIC_ROOT, which is for proxies: the finders know every file."""

    def serve(self, static_file: Any, request: HttpRequest) -> HttpResponseBase:
        """Answer with the file, compressed if the browser accepts that."""
        response: HttpResponseBase = super().serve(static_file, request)
        if response.status_code != 200 or not _COMPRESSIBLE.match(response["Content-Type"]):
            return response
        patch_vary_headers(response, ["Accept-Encoding"])
        if not takes_gzip(request.headers.get("Accept-Encoding", "")):
            return response
        response.close()
        ((_, path, _),) = static_file.alternatives
        body = _gzipped(path, response["ETag"])
        headers = {**response.headers, "Content-Encoding": "gzip", "Content-Length": str(len(body))}
        return HttpResponse(body if request.method == "GET" else b"", headers=headers)
