"""Users with roles and projects, and the API tokens that act for them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.auth.password_validation import validate_password
from django.db import models
from django.utils import timezone

from accounts import tokens


class Role(models.TextChoices):
    """What a user may do; a user may have several roles."""

    USER = "user", "user: sees own jobs"
    MANAGER = "manager", "manager: sees the jobs of managed projects"
    SUPPORT = "support", "support: sees and tags all jobs"
    ADMIN = "admin", "admin: everything"
    API = "api", "api: job operations of the REST API"


class TokenScope(models.TextChoices):
    """What a token may be used for, within the roles of its user."""

    REPORT = "report", "report: start, stop and tag jobs, report nodes, list running jobs"
    READ = "read", "read: jobs and their samples"
    ALL = "all", "all: whatever the user's roles allow"


STAFF_ROLES = frozenset({Role.USER, Role.MANAGER, Role.SUPPORT, Role.ADMIN})


class AccountManager(UserManager["User"]):
    """Create users; a superuser is a user with the role admin."""

    def get_queryset(self) -> models.QuerySet["User"]:
        """Return users, which can be filtered by is_staff and is_superuser as if these were columns."""
        of_user = UserRole.objects.filter(user=models.OuterRef("pk"))
        flags: dict[str, Any] = {
            "is_staff": models.Exists(of_user.filter(role__in=STAFF_ROLES)),
            "is_superuser": models.Exists(of_user.filter(role=Role.ADMIN)),
        }
        return super().get_queryset().alias(**flags)

    def create_superuser(
        self, username: str, email: str | None = None, password: str | None = None, **fields: Any
    ) -> "User":
        """Create a user with the role admin; raise ValidationError if the password breaks AUTH_PASSWORD_VALIDATORS.

        `manage.py createsuperuser` asks for the rules only on a terminal, and there lets them be bypassed.
        """
        if password is not None:
            validate_password(password, self.model(username=username, email=email or ""))
        user = self.create_user(username, email, password, **fields)
        user.add_roles([Role.ADMIN])
        return user

    def create_user(
        self, username: str, email: str | None = None, password: str | None = None, **fields: Any
    ) -> "User":
        """Create a user without roles; without a password, the user cannot log in by password."""
        return self._create_user(username, email, password, **fields)  # type: ignore[attr-defined,no-any-return]

    def new(self, username: str, email: str, password: str | None, *, name: str) -> "User":
        """Return a user that is not stored yet; without a password, it cannot log in by password."""
        user = self.model(
            username=self.model.normalize_username(username), email=self.normalize_email(email), name=name
        )
        user.password = make_password(password)
        return user

    def with_access(self) -> models.QuerySet["User"]:
        """Return users with roles and projects loaded, in order of creation."""
        return self.order_by("id").prefetch_related("role_set", "project_set")


class User(AbstractUser):
    """A person or program. Staff and superuser rights are derived from the roles."""

    first_name = None  # type: ignore[assignment]  # the contract has a single name
    last_name = None  # type: ignore[assignment]
    name = models.CharField(max_length=255, blank=True)

    objects: ClassVar[AccountManager] = AccountManager()

    REQUIRED_FIELDS: ClassVar[list[str]] = []

    @cached_property
    def roles(self) -> list[str]:
        """Return the names of the roles, oldest first."""
        return [row.role for row in sorted(self.role_set.all(), key=lambda row: row.pk)]

    @cached_property
    def projects(self) -> list[str]:
        """Return the names of the managed projects, oldest first."""
        return [row.project for row in sorted(self.project_set.all(), key=lambda row: row.pk)]

    def has_role(self, *roles: str) -> bool:
        """Return whether the user has at least one of these roles."""
        return not set(roles).isdisjoint(self.roles)

    def add_roles(self, roles: Iterable[str]) -> None:
        """Add roles; skip those that the user already has."""
        present = self.roles
        new = [UserRole(role=role) for role in dict.fromkeys(roles) if role not in present]
        self.role_set.add(*new, bulk=False)
        self.__dict__.pop("roles", None)  # a cached property

    def add_projects(self, projects: Iterable[str]) -> None:
        """Add managed projects; skip those that the user already manages."""
        present = self.projects
        new = [UserProject(project=name) for name in dict.fromkeys(projects) if name not in present]
        self.project_set.add(*new, bulk=False)
        del self.projects  # a cached property

    @property
    def is_staff(self) -> bool:
        """Whether the user may log in to the admin site, which takes a role other than api.

        Libraries for log-ins set it: true gives the role user unless another such role is there, false takes all of
        them, with `save`.
        """
        return self._set_flags.get("is_staff", self.has_role(*STAFF_ROLES))

    @is_staff.setter
    def is_staff(self, value: bool) -> None:
        self._set_flags["is_staff"] = value

    @property
    def is_superuser(self) -> bool:
        """Whether the user may do everything in the admin site: the role admin, set as is_staff is."""
        return self._set_flags.get("is_superuser", self.has_role(Role.ADMIN))

    @is_superuser.setter
    def is_superuser(self, value: bool) -> None:
        self._set_flags["is_superuser"] = value

    @cached_property
    def _set_flags(self) -> dict[str, bool]:
        """Return what of is_staff and is_superuser was set and not saved."""
        return {}

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the user, and the roles that is_staff and is_superuser stand for where these were set."""
        super().save(*args, **kwargs)
        flags, self._set_flags = self._set_flags, {}
        if flags.get("is_staff") is False:
            self._take_roles(STAFF_ROLES)
        elif flags.get("is_staff") and not self.is_staff and not flags.get("is_superuser"):
            self.add_roles([Role.USER])
        if flags.get("is_superuser") is False:
            self._take_roles([Role.ADMIN])
        elif flags.get("is_superuser"):
            self.add_roles([Role.ADMIN])

    def _take_roles(self, roles: Iterable[str]) -> None:
        """Take roles from the user; the last active admin keeps that one."""
        admins = UserRole.objects.filter(role=Role.ADMIN, user__is_active=True).exclude(user=self)
        kept = () if admins.exists() else (Role.ADMIN,)
        UserRole.objects.filter(user=self, role__in=set(roles) - set(kept)).delete()
        self.refresh_from_db(fields=["role_set"])  # which may have been loaded before
        self.__dict__.pop("roles", None)  # a cached property

    @property
    def usual_scope(self) -> str:
        """Return the scope of a new token if none is chosen: without the role api or admin, it can only read."""
        return TokenScope.ALL if self.has_role(Role.API, Role.ADMIN) else TokenScope.READ

    def get_full_name(self) -> str:
        """Return the name, or else the username."""
        return self.name or self.username

    def get_short_name(self) -> str:
        """Return the username."""
        return self.username


class UserRole(models.Model):
    """One role of one user."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="role_set")
    role = models.CharField(max_length=16, choices=Role.choices)

    class Meta:
        verbose_name = "role"
        constraints = [
            models.UniqueConstraint(fields=["user", "role"], name="accounts_role_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="accounts_role_known"),
        ]

    def __str__(self) -> str:
        """Return the role's name."""
        return self.role


class UserProject(models.Model):
    """One project that a manager manages."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="project_set")
    project = models.CharField(max_length=255)

    class Meta:
        verbose_name = "managed project"
        constraints = [
            models.UniqueConstraint(fields=["user", "project"], name="accounts_project_once"),
            models.CheckConstraint(condition=~models.Q(project=""), name="accounts_project_named"),
        ]

    def __str__(self) -> str:
        """Return the project's name."""
        return self.project


class ApiToken(models.Model):
    """A credential of a user. Only the hash of the secret is stored; expired and revoked tokens are kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(
        max_length=255, blank=True, help_text="What the token is for, e.g. 'slurm adapter on mgmt1'."
    )
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)  # unique: its index serves each look-up
    scope = models.CharField(
        max_length=16, choices=TokenScope.choices, default=TokenScope.ALL, db_default=TokenScope.ALL
    )
    clusters = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        blank=True,
        help_text="The only clusters whose jobs it reaches.",
    )
    networks = models.JSONField(
        default=list, blank=True, help_text='Networks from which it may be used, e.g. ["10.0.0.0/8"].'
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API token"
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(scope__in=TokenScope.values), name="accounts_token_scope_known")
        ]

    def __str__(self) -> str:
        """Return the first characters of the token and its name."""
        return f"{self.prefix}… ({self.name or 'unnamed'})"

    @classmethod
    def issue(
        cls,
        *,
        user: User,
        name: str = "",
        days: int | None = None,
        scope: str = TokenScope.ALL,
        clusters: Iterable[str] = (),
        networks: Iterable[str] = (),
    ) -> tuple["ApiToken", str]:
        """Create a token; return it with its secret, which is not stored.

        The token expires after `days`, or never. `clusters`, and `networks`, valid CIDR networks, limit it if there are
        any.
        """
        secret = tokens.generate()
        row = cls.objects.create(
            user=user,
            name=name,
            prefix=tokens.visible_prefix(secret),
            digest=tokens.digest(secret),
            scope=scope,
            clusters=list(clusters),
            networks=list(networks),
            expires_at=None if days is None else timezone.now() + timedelta(days=days),
        )
        return row, secret

    @property
    def reach(self) -> str:
        """Return the scope and the clusters in words, such as 'report on fritz, alex'."""
        return f"{self.scope} on {', '.join(self.clusters)}" if self.clusters else self.scope

    @property
    def status(self) -> str:
        """Return 'active', 'expired', 'revoked' or 'user inactive'."""
        return self.status_at(timezone.now())

    def status_at(self, now: datetime) -> str:
        """Return the status at a time; a revoked token counts as revoked even if it has expired."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.user.is_active else "user inactive"

    def revoke(self) -> bool:
        """Revoke the token; return False if it was already revoked."""
        self.revoked_at = timezone.now()
        return bool(ApiToken.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=self.revoked_at))
