"""revoke_token: one token, found by its beginning."""

import pytest

from accounts import credentials
from accounts.exceptions import InvalidTokenError
from accounts.models import ApiToken, User
from tests.support.commands import Run


def test_a_token_named_by_its_beginning_is_refused_from_then_on(run: Run, alice: User) -> None:
    token, secret = ApiToken.issue(user=alice, name="slurm")
    other, _ = ApiToken.issue(user=alice)
    outcome = run("revoke_token", token.prefix)
    assert outcome.status == 0
    assert token.prefix in outcome.out
    assert "slurm" in outcome.out
    assert "alice" in outcome.out
    with pytest.raises(InvalidTokenError, match="revoked"):
        credentials.user_of(secret, "10.0.0.1")
    other.refresh_from_db()
    assert other.status == "active"


def test_the_whole_token_and_the_shown_form_name_it_too(run: Run, alice: User) -> None:
    _, secret = ApiToken.issue(user=alice)
    second, _ = ApiToken.issue(user=alice)
    assert run("revoke_token", secret).status == 0
    assert run("revoke_token", f"{second.prefix}…").status == 0
    assert ApiToken.objects.filter(revoked_at=None).count() == 0


def test_revoking_again_says_so_and_is_done(run: Run, alice: User) -> None:
    token, _ = ApiToken.issue(user=alice)
    run("revoke_token", token.prefix)
    token.refresh_from_db()
    outcome = run("revoke_token", token.prefix)
    assert outcome.status == 0
    assert "already" in outcome.out
    before = token.revoked_at
    token.refresh_from_db()
    assert token.revoked_at == before


def test_an_unknown_beginning_is_a_failure(run: Run, alice: User) -> None:
    token, secret = ApiToken.issue(user=alice)
    for text in ("ccb_00000000", secret[:-1] + "!", token.prefix.swapcase()):
        assert run("revoke_token", text).status == 1
    token.refresh_from_db()
    assert token.status == "active"


def test_a_beginning_that_is_short_or_not_the_only_one_is_bad_usage(run: Run, alice: User) -> None:
    for end in ("aaaa", "bbbb"):
        token, _ = ApiToken.issue(user=alice)
        ApiToken.objects.filter(pk=token.pk).update(prefix=f"ccb_same{end}")
    assert run("revoke_token", "ccb_sam").status == 2
    outcome = run("revoke_token", "ccb_same")
    assert outcome.status == 2
    assert "ccb_sameaaaa, ccb_samebbbb" in outcome.err
    assert run("revoke_token", "ccb_same%%%%").status == 1
    assert ApiToken.objects.filter(revoked_at=None).count() == 2


def test_exit_statuses(typed: Run) -> None:
    typed("create_user", "alice", "--role", "api", "--no-password")
    token = typed("create_token", "alice").out.strip()
    assert [typed("revoke_token", text).status for text in ("ccb", "ccb_00000000", token)] == [2, 1, 0]
    assert " revoked " in typed("list_tokens").out
