"""Files in forms: refused, since no page and no call takes one."""

from typing import Any, NoReturn

from django.core.exceptions import BadRequest
from django.core.files.uploadhandler import FileUploadHandler


class NoUploads(FileUploadHandler):
    """A handler that refuses a file before any of it is kept: forms are read before the log-in is checked."""

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse the file."""
        raise BadRequest("expected a form without files")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Return the data, of which there is none."""
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Keep nothing."""
