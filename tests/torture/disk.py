"""A small file system for the archive that can be full or read-only; needs the right to mount."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

_LARGE = "4g"  # takes memory only for what is written
_TRIES = 200


class Disk:
    """A tmpfs mounted at a folder; `problem` says why it could not be mounted, and is empty where it was."""

    def __init__(self, folder: Path) -> None:
        """Create the folder and mount it."""
        self.folder = folder
        folder.mkdir(parents=True)
        self.problem = _mount("-t", "tmpfs", "-o", f"size={_LARGE},mode=0755", "tmpfs", str(folder))

    def fill(self) -> None:
        """Leave no room: reduce its size to what is used."""
        for _ in range(_TRIES):  # writers may take more between the two lines
            used = os.statvfs(self.folder)
            if not _mount("-o", f"remount,size={(used.f_blocks - used.f_bfree) * used.f_frsize}", str(self.folder)):
                return
            time.sleep(0.01)
        msg = "the file system of the archive could not be filled"
        raise RuntimeError(msg)

    def empty(self) -> None:
        """Give it room again."""
        self._must("-o", f"remount,size={_LARGE}", str(self.folder))

    def forbid_writing(self) -> None:
        """Mount it read-only over itself: that works while files are open for writing, too."""
        self._must("--bind", str(self.folder), str(self.folder))
        self._must("-o", "remount,bind,ro", str(self.folder))

    def allow_writing(self) -> None:
        """Undo `forbid_writing`."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def remove(self) -> None:
        """Unmount it, however often it is mounted."""
        while not self.problem and os.path.ismount(self.folder):
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _must(self, *arguments: str) -> None:
        if problem := _mount(*arguments):
            raise RuntimeError(problem)


def _mount(*arguments: str) -> str:
    """Mount something; return why that failed, or the empty text."""
    with contextlib.suppress(FileNotFoundError):
        command = ["mount", *arguments]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        return "" if done.returncode == 0 else done.stderr.strip() or "mount failed"
    return "there is no program mount"
