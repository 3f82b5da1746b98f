"""create_token: the secret alone on stdout, and what the row says."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from accounts import credentials, tokens
from accounts.models import ApiToken, User
from tests.support.commands import Run


def test_the_token_is_alone_on_stdout_and_works(run: Run, alice: User) -> None:
    outcome = run("create_token", "alice")
    assert outcome.status == 0
    assert len(outcome.lines) == 1
    assert credentials.user_of(outcome.lines[0], "10.0.0.1")[0] == alice
    assert "does not expire" in outcome.err
    assert outcome.lines[0] not in outcome.err


def test_quiet_prints_the_token_all_the_same(run: Run, alice: User) -> None:
    outcome = run("create_token", "alice", verbosity=0)
    assert tokens.is_well_formed(outcome.out.strip())
    assert outcome.err == ""


def test_options_reach_the_row(run: Run, alice: User) -> None:
    outcome = run("create_token", "alice", "--name", "slurm", "--days", 30, "--network", "10.1.2.3/8", "fe80::/10",
                  "--network", "10.1.2.3")  # fmt: skip
    token = ApiToken.objects.get()
    assert outcome.status == 0
    assert token.name == "slurm"
    assert token.networks == ["10.0.0.0/8", "fe80::/10", "10.1.2.3/32"]
    assert token.expires_at is not None
    assert abs(token.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert "expires on" in outcome.err


def test_a_token_of_little_use_is_remarked_on(run: Run) -> None:
    user = User.objects.create_user("bob", is_active=False)
    user.add_roles(["user"])
    outcome = run("create_token", "bob")
    assert outcome.status == 0
    assert "inactive" in outcome.err
    assert "403" in outcome.err


def test_an_unknown_user_is_a_failure(run: Run) -> None:
    outcome = run("create_token", "nobody")
    assert outcome.status == 1
    assert outcome.out == ""


def test_values_that_cannot_be_are_bad_usage(run: Run) -> None:
    User.objects.create_user("alice").add_roles(["api"])
    bad = {"--days": ("0", "-1", "1.5", "9" * 40), "--network": ("10.0.0.0/33", "office"), "--name": ("x" * 256,)}
    for option, value in ((option, value) for option, values in bad.items() for value in values):
        outcome = run("create_token", "alice", option, value)
        assert f"{option}: " in outcome.err, (option, value)
        assert outcome.status != 0
        assert outcome.out == ""
    assert not ApiToken.objects.exists()


def test_bad_usage_is_an_exit_status_of_its_own(typed: Run) -> None:
    outcome = typed("create_token", "alice", "--days", "0")
    assert outcome.status == 2
    assert "Traceback" not in outcome.err


def test_a_cluster_that_is_not_configured_is_refused_if_others_are(
    run: Run, alice: User, add_cluster: Callable[[str], Path]
) -> None:
    assert run("create_token", "alice", "--cluster", "new").status == 0  # without any, every name is accepted
    add_cluster("testcluster")
    before = ApiToken.objects.count()
    refused = run("create_token", "alice", "--cluster", "testcluster", "tsetcluster")
    assert refused.status == 2
    assert "--cluster 'tsetcluster': there is no such cluster here" in refused.err
    assert ApiToken.objects.count() == before
    assert run("create_token", "alice", "--cluster", "testcluster").status == 0


def test_with_exists_ok_a_second_token_of_the_name_is_made_only_if_none_is_active(run: Run, alice: User) -> None:
    words = ("create_token", "alice", "--name", "adapter", "--exists-ok")
    first = run(*words)
    assert (first.status, len(first.lines)) == (0, 1)
    again = run(*words)
    assert (again.status, again.out) == (0, "")
    assert "is there already; none was created" in again.err
    assert first.lines[0] not in again.err
    assert len(run("create_token", "alice", "--name", "other", "--exists-ok").lines) == 1
    ApiToken.objects.get(name="adapter").revoke()
    assert len(run(*words).lines) == 1
    assert ApiToken.objects.count() == 3
