"""The page "Refused calls": groups, one call with its body, correct and replay, replay all alike, dismiss."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs.admin import refused_calls
from jobs.history import of_job, text_of
from jobs.models import Job, RefusedCall
from jobs.states import RefusalState
from tests.support.admin_site import Login
from tests.support.clients import AppClient, start_body
from tests.support.factories import START

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster")]

PAGE = "/admin/jobs/refusedcall/"
FAR = [{"hostname": "x99"}]


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


def refuse(api: AppClient, *job_ids: int, **changes: Any) -> list[RefusedCall]:
    """Send starts that are refused, and return the calls that are kept."""
    for job_id in job_ids:
        assert api.start(jobId=job_id, **({"numNodes": 2} | changes)).status == 400
    return list(RefusedCall.objects.order_by("pk"))


def alike(call: RefusedCall) -> dict[str, str]:
    """Return what a form says of the group of a call."""
    return {name: getattr(call, name) for name in ("operation", "kind", "token", "user")}


def test_calls_are_grouped_by_reason_and_token_the_latest_first(api: AppClient, client: Client) -> None:
    first, second = refuse(api, 1, 2)
    *_, last = refuse(api, 3, numNodes=1, user="")
    RefusedCall.objects.filter(pk=last.pk).update(received_at=last.received_at + 5)

    answer = client.get(PAGE)

    found = [(group["count"], group["call"].reason) for group in answer.context["groups"]]
    assert found == [
        (1, "'resources' and 'user' should not be empty: 'user' is"),
        (2, "len(resources) does not equal numNodes (1 vs 2)"),
    ]
    text = answer.content.decode()
    assert "bench" in text
    assert last.token in text
    group = client.get(f"{PAGE}?{answer.context['groups'][1]['query']}")
    assert list(group.context["page"].object_list) == [second, first]


def test_an_empty_page_says_so(client: Client) -> None:
    assert "No refused call waits." in client.get(PAGE).content.decode()


def test_a_call_is_corrected_and_replayed_and_says_by_whom(api: AppClient, client: Client) -> None:
    (call,) = refuse(api, 1)
    page = client.get(f"{PAGE}{call.pk}/change/")
    assert "Correct and replay" in page.content.decode()

    body = json.dumps(start_body(jobId=1, numNodes=1))
    text = client.post(f"{PAGE}{call.pk}/replay/", {"body": body}, follow=True).content.decode()

    assert "The call was carried out." in text
    job = Job.objects.get()
    call.refresh_from_db()
    assert (call.state, call.job_row, call.handled_by) == (RefusalState.REPLAYED, job.pk, "admin")
    assert (json.loads(call.body)["numNodes"], call.corrected) == (2, body)
    assert "replayed, corrected, by admin" in " ".join(text.split())
    assert text_of(of_job(job.pk).get()) == "Call of start_job that was refused replayed, corrected."
    assert of_job(job.pk).get().user.username == "admin"


def test_a_correction_that_is_refused_says_why_and_keeps_the_text(api: AppClient, client: Client) -> None:
    (call,) = refuse(api, 1)
    body = json.dumps(start_body(jobId=-1))

    answer = client.post(f"{PAGE}{call.pk}/replay/", {"body": body})

    assert "Refused again: field &#x27;jobId&#x27;: expected a number above 0, got -1" in answer.content.decode()
    assert answer.context["text"] == body
    call.refresh_from_db()
    assert (call.is_open, call.handled_by, call.corrected) == (True, "admin", "")
    assert call.reason.startswith("field 'jobId'")
    assert json.loads(call.body)["numNodes"] == 2


def test_an_unchanged_body_is_replayed_as_it_came(api: AppClient, client: Client) -> None:
    assert api.stop(jobId=1, stopTime=START + 60, jobState="completed").status == 422
    call = RefusedCall.objects.get()
    api.started(jobId=1)

    client.post(f"{PAGE}{call.pk}/replay/", {"body": client.get(f"{PAGE}{call.pk}/change/").context["text"]})

    call.refresh_from_db()
    assert (call.state, call.corrected) == (RefusalState.REPLAYED, "")
    assert Job.objects.get().job_state == "completed"


def test_a_call_that_was_carried_out_meanwhile_is_known(api: AppClient, client: Client) -> None:
    (call,) = refuse(api, 1)
    api.started(jobId=1)
    text = client.post(f"{PAGE}{call.pk}/replay/", {"body": json.dumps(start_body(jobId=1))}, follow=True)
    assert "Nothing to do" in text.content.decode()
    call.refresh_from_db()
    assert call.state == RefusalState.KNOWN


@pytest.mark.parametrize("seconds", [1.0, 0.0], ids=["at once", "in steps"])
def test_all_of_a_reason_are_replayed_after_its_cause_was_mended(
    api: AppClient, client: Client, monkeypatch: pytest.MonkeyPatch, seconds: float, settings: Any
) -> None:
    monkeypatch.setattr(refused_calls, "_ROUND", seconds)
    settings.DUPLICATE_START_WINDOW = 3600
    api.started(jobId=1, startTime=START)
    for job_id in (1, 2, 3):
        status = api.start(jobId=job_id, startTime=START + 10, **({} if job_id == 1 else {"numNodes": 2})).status
        assert status in (400, 422)
    near, *wrong = RefusedCall.objects.order_by("pk")
    settings.DUPLICATE_START_WINDOW = 5
    Job.objects.all().delete()

    form: dict[str, Any] = alike(near)
    for _ in range(5):
        answer = client.post(f"{PAGE}replay/", form, follow=True)
        if answer.redirect_chain:
            break
        form = alike(near) | {name: answer.context[name] for name in ("up_to", "after")}
        form |= vars(answer.context["counts"])

    assert "Replayed: 1 carried out, 0 known already, 0 refused again." in answer.content.decode()
    assert Job.objects.get().start_time == START + 10
    assert set(RefusedCall.objects.open()) == set(wrong)


def test_replaying_all_takes_starts_before_their_stops(api: AppClient, client: Client) -> None:
    refuse(api, 1)
    api.stop(jobId=1, stopTime=START + 60, jobState="failed")
    start = RefusedCall.objects.order_by("pk")[0]
    RefusedCall.objects.filter(pk=start.pk).update(body=json.dumps(start_body(jobId=1)))  # its cause was mended

    text = client.post(f"{PAGE}replay/", follow=True).content.decode()

    assert "Replayed: 2 carried out, 0 known already, 0 refused again." in text
    assert Job.objects.get().job_state == "failed"


def test_a_body_that_is_cut_is_not_replayed_as_it_is(api: AppClient, client: Client) -> None:
    (call,) = refuse(api, 1)
    whole = json.dumps(start_body(jobId=1))
    RefusedCall.objects.update(is_cut=True, body=whole)  # as if the rest had been more of the same
    text = client.post(f"{PAGE}replay/", alike(call), follow=True).content.decode()
    assert "0 carried out, 0 known already, 1 refused again" in text
    assert RefusedCall.objects.get().reason == call.reason
    assert not Job.objects.exists()
    client.post(f"{PAGE}{call.pk}/replay/", {"body": f"{whole} "})
    assert Job.objects.exists()


def test_a_group_is_dismissed_and_stays_to_be_seen(api: AppClient, client: Client) -> None:
    first, second = refuse(api, 1, 2)
    client.post(f"{PAGE}dismiss/", alike(first) | {"up_to": first.pk})
    assert list(RefusedCall.objects.open()) == [second]
    assert "dismissed by admin" in " ".join(client.get(f"{PAGE}?handled").content.decode().split())


def test_support_sees_the_calls_and_replays_none(api: AppClient, carol: User, alice: User, login: Login) -> None:
    (call,) = refuse(api, 1)
    client = login(carol)
    assert "Replay" not in client.get(PAGE).content.decode()
    page = client.get(f"{PAGE}{call.pk}/change/").content.decode()
    assert "numNodes" in page
    assert "<textarea" not in page
    for path in ("replay/", "dismiss/", f"{call.pk}/replay/"):
        assert client.post(f"{PAGE}{path}", alike(call)).status_code == 403
        assert login(alice).post(f"{PAGE}{path}", alike(call)).status_code == 403
    assert login(alice).get(PAGE).status_code == 403
    assert login(alice).get(f"{PAGE}{call.pk}/change/").status_code == 403
    assert RefusedCall.objects.get().is_open
