"""Correcting a job: project, partition and metadata, with a note why; nobody's edit is lost."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import User
from archive.format.layout import job_folder
from jobs import curation, history
from jobs.admin import correction
from jobs.admin.correction import Correction
from jobs.archiving.worker import ArchiveWorker
from jobs.curation import Edit, fingerprint
from jobs.exceptions import EditConflictError, InvalidJobError
from jobs.history import Actor
from jobs.models import ArchiveTask, Job
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, UserFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"


def opened(client: Client, job: Job) -> dict[str, str]:
    """Open the page of a correction and return its fields."""
    return sent(client.get(f"{LIST}{job.pk}/correct/").context["form"])


def sent(form: Correction) -> dict[str, str]:
    """Return the fields of a page as a browser would send them."""
    data = {"note": "ticket 4711"}
    for part in (form.facts, form.keys.management_form, *form.keys.forms):
        for field in part:
            value = field.value()
            is_there = field.name != "text" or not getattr(part, "is_kept", False)
            if is_there and field.name != "note" and value is not None and value is not False:
                data[field.html_name] = "on" if value is True else re.sub(r"\r\n|\r|\n", "\r\n", str(value))
    return data


def row_of(data: dict[str, str], key: str) -> str:
    """Return what the names of a key's fields begin with."""
    return next(name for name, value in data.items() if name.endswith("-key") and value == key).removesuffix("key")


def save(client: Client, job: Job, data: dict[str, str]) -> Any:
    """Send the form."""
    return client.post(f"{LIST}{job.pk}/correct/", data)


def text_of(job: Job) -> str:
    """Return the message of the newest entry of the history."""
    return history.text_of(LogEntry.objects.filter(object_id=str(job.pk)).latest("pk"))


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


@pytest.fixture
def job() -> Job:
    """Return a job with a name, a script and a key that is null."""
    metadata = {"jobName": "alpha", "jobScript": "#!/bin/bash\nsrun ./a\n", "account": None}
    return JobFactory.create(meta_data=json.dumps(metadata, separators=(",", ":")))


def test_project_and_partition_are_corrected_with_the_note_in_the_history(client: Client, job: Job) -> None:
    response = save(client, job, opened(client, job) | {"project": " cfd ", "partition": ""})

    assert response["Location"] == f"{LIST}{job.pk}/change/"
    before = job.meta_data
    job.refresh_from_db()
    assert (job.project, job.partition, job.user, job.meta_data) == ("cfd", "", "alice", before)
    assert text_of(job) == "Corrected.\nproject: bio → cfd\npartition: work → (empty)\nNote: ticket 4711"
    assert LogEntry.objects.get().user.username == "admin"


def test_keys_are_changed_added_removed_and_set_to_null(client: Client, job: Job) -> None:
    data = opened(client, job)
    data[f"{row_of(data, 'jobName')}text"] = "beta"
    data[f"{row_of(data, 'jobScript')}remove"] = "on"
    del data[f"{row_of(data, 'account')}is_null"]
    data |= {"key-3-key": "que\0ue", "key-3-text": "lo\0ng", "key-4-key": "shell", "key-4-is_null": "on"}

    assert save(client, job, data).status_code == 302

    job.refresh_from_db()
    assert job.meta_data == '{"jobName":"beta","account":"","queue":"long","shell":null}'
    lines = text_of(job).splitlines()
    assert "metaData.jobName: alpha → beta" in lines
    assert "metaData.account: null → (empty)" in lines
    assert "metaData.jobScript: #!/bin/bash⏎srun ./a → (removed)" in lines
    assert "metaData.shell: (none) → null" in lines


@pytest.mark.parametrize("script", ["a\r\nb\r\n", "a\rb", "\na\n", " a ", "é\u2028\N{SNOWMAN}"])
def test_what_is_left_alone_stays_as_it_is_byte_by_byte(script: str, client: Client) -> None:
    job = JobFactory.create(meta_data=json.dumps({"jobName": " x ", "jobScript": script}, separators=(",", ":")))

    save(client, job, opened(client, job) | {"project": "cfd"})

    job.refresh_from_db()
    assert job.project == "cfd"
    assert job.metadata == {"jobName": " x ", "jobScript": script}
    assert "metaData" not in text_of(job)


def test_a_correction_without_a_note_or_without_a_change_does_nothing(client: Client, job: Job) -> None:
    response = save(client, job, opened(client, job) | {"project": "cfd", "note": " "})
    assert "This field is required" in response.content.decode()
    assert save(client, job, opened(client, job)).status_code == 302

    job.refresh_from_db()
    assert job.project == "bio"
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"project": "x" * 256}, "at most 255 characters"),
        ({"key-3-key": "k" * 256, "key-3-text": "x"}, "A key has at most 255 characters"),
        ({"key-3-text": "x"}, "Give the key a name"),
        ({"key-3-key": "a", "key-3-text": "x", "key-4-key": "a", "key-4-text": "y"}, "Keys that come twice: a"),
        ({"key-3-key": "a", "key-3-text": "x", "key-3-is_null": "on"}, "A key that is null has no text"),
        ({"key-3-key": "jobName", "key-3-text": "x"}, "Keys that come twice: jobName"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    changes: dict[str, str], error: str, client: Client, job: Job
) -> None:
    response = save(client, job, opened(client, job) | changes)

    assert response.status_code == 200
    assert error in response.content.decode()
    assert not LogEntry.objects.exists()


def test_edits_of_different_fields_by_two_editors_both_survive(client: Client, job: Job) -> None:
    first, second = opened(client, job), opened(client, job)
    first[f"{row_of(first, 'jobName')}text"] = "beta"

    save(client, job, first)
    save(client, job, second | {"project": "cfd", "key-3-key": "queue", "key-3-text": "long"})

    job.refresh_from_db()
    assert job.project == "cfd"
    assert (job.metadata["jobName"], job.metadata["queue"]) == ("beta", "long")


def test_the_second_edit_of_a_field_is_refused_and_names_what_changed_and_by_whom(
    client: Client, job: Job, login: Login
) -> None:
    other = login(UserFactory.create(username="zoe", roles=["admin"]))
    mine = opened(client, job) | {"project": "chem", "partition": "long"}
    save(other, job, opened(other, job) | {"project": "cfd"})

    response = save(client, job, mine)

    text = response.content.decode()
    assert "project was changed to cfd by zoe at " in text
    assert 'value="chem"' in text  # what was typed is not lost
    job.refresh_from_db()
    assert (job.project, job.partition) == ("cfd", "work")
    save(client, job, sent(response.context["form"]))
    job.refresh_from_db()
    assert (job.project, job.partition) == ("chem", "long")
    assert set(job.metadata) == {"jobName", "jobScript", "account"}
    assert len(text_of(job).splitlines()) == 4  # the two fields alone


def test_a_key_that_somebody_removed_or_added_meanwhile_is_a_conflict(client: Client, job: Job) -> None:
    removes, adds, mine = opened(client, job), opened(client, job), opened(client, job)
    removes[f"{row_of(removes, 'jobName')}remove"] = "on"
    save(client, job, removes)
    save(client, job, adds | {"key-3-key": "queue", "key-3-text": "long"})

    mine[f"{row_of(mine, 'jobName')}text"] = "beta"
    text = save(client, job, mine | {"key-3-key": "queue", "key-3-text": "short"}).content.decode()

    assert "metaData.jobName was removed by admin" in text
    assert "metaData.queue was changed to long by admin" in text


def test_a_value_that_both_editors_want_is_no_conflict(admin: User, job: Job) -> None:
    wanted = [Edit("project", fingerprint("bio"), "cfd")]

    for changed in (["project"], []):
        assert curation.correct_job(row_id=job.pk, edits=wanted, note="x", actor=Actor(admin.pk)) == changed


@pytest.mark.parametrize("field", ["user", "start_time", "metaData.", "metaData.a\0b", f"metaData.{'k' * 256}"])
def test_other_fields_and_bad_keys_are_refused_by_the_service(field: str, admin: User, job: Job) -> None:
    for opened_with in ("-", "forged"):
        edits = [Edit(field, opened_with, "x")]
        with pytest.raises((InvalidJobError, EditConflictError)):
            curation.correct_job(row_id=job.pk, edits=edits, note="x", actor=Actor(admin.pk))
    assert not LogEntry.objects.exists()


def test_a_change_by_a_program_is_a_conflict_too(admin: User, job: Job) -> None:
    with pytest.raises(EditConflictError, match="project was changed to bio by a program"):
        curation.correct_job(
            row_id=job.pk, edits=[Edit("project", fingerprint("old"), "cfd")], note="x", actor=Actor(admin.pk)
        )


def test_a_correction_reaches_meta_json_of_an_archived_job(client: Client, archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()

    save(client, job, opened(client, job) | {"project": "cfd", "key-1-key": "queue", "key-1-text": "long"})

    document = json.loads((job_folder(archive_root, job.key) / "meta.json").read_bytes())
    assert document["project"] == "cfd"
    assert document["metaData"] == {"jobName": "a job", "queue": "long"}
    assert not ArchiveTask.objects.exists()


def test_where_the_archive_cannot_be_written_the_database_is_right_and_the_edit_waits(
    client: Client, archive_root: Path
) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    folder = job_folder(archive_root, job.key)
    shutil.move(folder, archive_root.parent / "kept")
    folder.write_text("no folder: nothing can be written here, for root neither")

    response = client.post(f"{LIST}{job.pk}/correct/", opened(client, job) | {"project": "cfd"}, follow=True)

    job.refresh_from_db()
    assert job.project == "cfd"
    text = response.content.decode()
    assert "The file meta.json could not be written yet" in text
    assert "The last attempt to archive failed and will be repeated automatically" in text
    folder.unlink()
    shutil.move(archive_root.parent / "kept", folder)
    ArchiveWorker(at_once=True).drain()
    assert json.loads((folder / "meta.json").read_bytes())["project"] == "cfd"
    assert not ArchiveTask.objects.exists()


@pytest.mark.parametrize("metadata", ["no json", '{"jobName": {"a": 1}}'])
def test_metadata_that_is_no_map_of_texts_is_left_alone(metadata: str, client: Client) -> None:
    job = JobFactory.create(meta_data=metadata)

    assert "cannot be edited here" in client.get(f"{LIST}{job.pk}/correct/").content.decode()
    save(client, job, opened(client, job) | {"project": "cfd"})

    job.refresh_from_db()
    assert (job.project, job.meta_data) == ("cfd", metadata)


@pytest.mark.parametrize("key", ["", "k" * 300, "a\nb", "<b>"])
def test_an_odd_key_that_is_there_hinders_no_correction(key: str, client: Client) -> None:
    job = JobFactory.create(meta_data=json.dumps({key: "x", "jobName": "y"}))

    assert save(client, job, opened(client, job) | {"project": "cfd"}).status_code == 302

    job.refresh_from_db()
    assert (job.project, job.metadata) == ("cfd", {key: "x", "jobName": "y"})


def test_a_text_too_long_for_the_page_is_kept_or_removed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correction, "MOST_EDITED", 10)
    job = JobFactory.create(meta_data='{"jobScript":"a long script"}')
    data = opened(client, job)

    save(client, job, data | {"project": "cfd"})
    job.refresh_from_db()
    assert job.metadata == {"jobScript": "a long script"}
    save(client, job, opened(client, job) | {f"{row_of(data, 'jobScript')}remove": "on"})
    job.refresh_from_db()
    assert job.meta_data is None


def test_long_texts_are_shortened_in_the_history_around_what_changed(client: Client) -> None:
    script = "\n".join(f"line {number}" for number in range(500))
    job = JobFactory.create(meta_data=json.dumps({"jobScript": script}))
    data = opened(client, job)

    save(client, job, data | {f"{row_of(data, 'jobScript')}text": script.replace("line 400", "LINE 400")})

    text = text_of(job)
    assert len(text) < 400
    assert "LINE 400" in text
    assert "line 400" in text


def test_html_in_keys_and_texts_is_shown_as_text(client: Client) -> None:
    evil = "<script>alert(1)</script>"
    job = JobFactory.create(project=evil, meta_data=json.dumps({evil: evil, "s": evil + "\n"}))

    pages = [client.get(f"{LIST}{job.pk}/correct/").content.decode()]
    save(client, job, opened(client, job) | {"note": evil, "project": "cfd"})
    pages += [client.get(f"{LIST}{job.pk}/{page}/").content.decode() for page in ("change", "history")]

    assert all(evil not in page and "&lt;script&gt;" in page for page in pages)


def test_a_correction_takes_few_queries(client: Client, job: Job, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(15):
        data = opened(client, job)
    with django_assert_max_num_queries(15):
        save(client, job, data | {"project": "cfd"})
