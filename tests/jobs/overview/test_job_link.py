"""/job/CLUSTER/JOBID: the newest run that one may see; JOB_LINKS on its page."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests.support.admin_site import Login
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db


def test_it_leads_to_the_newest_run_that_one_may_see(login: Login, alice: User, admin: User) -> None:
    older = JobFactory.create(job_id=7, user="alice")
    newer = JobFactory.create(job_id=7, user="bob", start_time=older.start_time + 1000, cluster=older.cluster)
    for user, job in ((alice, older), (admin, newer)):
        answer = login(user).get(f"/job/{older.cluster}/7")
        assert (answer.status_code, answer["Location"]) == (302, f"/admin/jobs/job/{job.pk}/change/")


def test_a_job_of_others_is_answered_as_one_that_is_not_there(login: Login, alice: User) -> None:
    other = JobFactory.create(job_id=7, user="bob")
    client = login(alice)
    for address in (f"/job/{other.cluster}/7", f"/job/{other.cluster}/8", f"/job/{other.cluster}/x", "/job/none/7"):
        assert client.get(address).status_code == 404, address


def test_without_a_log_in_it_leads_there_and_back(client: Client) -> None:
    answer = client.get("/job/fritz/7")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/job/fritz/7")


def test_links_of_the_settings_are_on_the_page_with_the_job_s_facts(login: Login, admin: User, settings: Any) -> None:
    settings.JOB_LINKS = [("Metrics", "https://g.example.org/d?h=$hosts&u=$user&from=${start}000&to=${stop}000#$jobid")]
    job = JobFactory.create(finished=True, user='a&"b', resources='[{"hostname":"n01"},{"hostname":"n02"}]')
    text = login(admin).get(f"/admin/jobs/job/{job.pk}/change/").content.decode()
    times = f"from={job.start_time}000&amp;to={job.stop_time}000#{job.job_id}"
    assert f'href="https://g.example.org/d?h=n01,n02&amp;u=a%26%22b&amp;{times}"' in text
