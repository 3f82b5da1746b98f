"""Admin forms for users and API tokens; the rules themselves are in services and addresses."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import credentials, services
from accounts.addresses import parse_network
from accounts.exceptions import AccountError
from accounts.models import ApiToken, Role, TokenScope, User

if TYPE_CHECKING:
    CreationForm = AdminUserCreationForm[User]
    ChangeForm = UserChangeForm[User]
    PasswordForm = AdminPasswordChangeForm[User]
    TokenModelForm = forms.ModelForm[ApiToken]
else:
    CreationForm = AdminUserCreationForm
    ChangeForm = UserChangeForm
    PasswordForm = AdminPasswordChangeForm
    TokenModelForm = forms.ModelForm

_LONGEST_LIFE = 36_500  # days


class LinesField(forms.CharField):
    """A list of texts, one per line; empty lines and repetitions are dropped."""

    widget = forms.Textarea

    def __init__(self, **kwargs: Any) -> None:
        """Use a small text area."""
        super().__init__(required=False, widget=forms.Textarea(attrs={"rows": 4, "cols": 40}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Join a list into lines."""
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        """Return the lines as a list."""
        lines = [line.strip() for line in (value or "").splitlines()]
        return list(dict.fromkeys(line for line in lines if line))

    def run_validators(self, value: Any) -> None:
        """Validate each line on its own."""
        for line in value:
            super().run_validators(line)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare without regard to the order of lines."""
        return sorted(initial or []) != sorted(self.to_python(data))


def _roles_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=Role.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text="Without a role other than api, the user cannot log in to this site.",
    )


def _projects_field() -> LinesField:
    return LinesField(label="Managed projects", help_text="One per line. For managers only.")


def _without_password() -> str:
    """Return what a user without a password can do, by the log-ins that are configured."""
    ways = {"by LDAP": settings.LDAP, "by OpenID Connect": settings.OIDC, "at the proxy": settings.REMOTE_USER_HEADER}
    known = [way for way, is_configured in ways.items() if is_configured]
    return (
        f"Without a password, the user logs in {' or '.join(known)}."
        if known
        else "Without a password, the user cannot log in to this site; API tokens work."
    )


class NewPasswordForm(PasswordForm):
    """Set or remove the password of a user."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Say what removing it means."""
        super().__init__(*args, **kwargs)
        if "usable_password" in self.fields:
            self.fields["usable_password"].help_text = f"{_without_password()} The present password is lost."


class UserAddForm(CreationForm):
    """Create a user."""

    roles = _roles_field()
    projects = _projects_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Say what it means to have no password."""
        super().__init__(*args, **kwargs)
        self.fields["usable_password"].help_text = _without_password()

    class Meta:
        """The fields of the user's own row."""

        model = User
        fields = ("username", "name", "email")

    def clean(self) -> dict[str, Any]:
        """Show what `create_user` would refuse, without storing anything."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            _rehearse(self, lambda: self.create(with_password=False))
        return cleaned

    def create(self, *, with_password: bool = True) -> User:
        """Create the user with its roles and projects."""
        data = self.cleaned_data
        usable = with_password and data.get("set_usable_password", True)
        return services.create_user(
            username=data["username"],
            roles=data["roles"],
            password=data["password1"] if usable else None,
            projects=data["projects"],
            name=data["name"],
            email=data["email"],
        )

    def save(self, commit: bool = True) -> User:  # noqa: FBT001, FBT002  Django's signature
        """Return the unsaved user; UserAdmin.save_model stores it with `create`."""
        return User(username=self.cleaned_data["username"])


class UserEditForm(ChangeForm):
    """Change a user: name, e-mail, roles, projects, active."""

    roles = _roles_field()
    projects = _projects_field()

    class Meta:
        """The fields of the user's own row."""

        model = User
        fields = ("name", "email", "is_active")
        help_texts = {"username": "Cannot be changed: jobs refer to their user by it."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Fill in the user's roles and projects."""
        super().__init__(*args, **kwargs)
        self.initial.update(roles=list(self.instance.roles), projects=list(self.instance.projects))
        self.fields["is_active"].help_text = (
            "Clear this instead of deleting the user: log-in and tokens stop working within "
            f"{credentials.CACHED} s, and nothing is lost."
        )

    def clean(self) -> dict[str, Any]:
        """Show what `apply` would refuse, without storing anything."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            _rehearse(self, self.apply)
        return cleaned

    def apply(self) -> None:
        """Make all of the changes or, if one raises AccountError, none."""
        data, username = self.cleaned_data, self.instance.username
        with transaction.atomic():
            user = User.objects.get(username=username)
            roles, projects = set(user.roles), set(user.projects)
            for role in data["roles"]:
                if role not in roles:
                    services.add_role(username=username, role=role)
            for project in sorted(projects - set(data["projects"])):
                services.remove_project(username=username, project=project)
            for project in data["projects"]:
                if project not in projects:
                    services.add_project(username=username, project=project)
            for role in sorted(roles - set(data["roles"])):
                services.remove_role(username=username, role=role)
            if user.is_active != data["is_active"]:
                services.set_active(user=user, active=data["is_active"])
            User.objects.filter(pk=user.pk).update(name=data["name"], email=data["email"])


def _rehearse(form: forms.BaseForm, change: Any) -> None:
    """Make a change and roll it back, so that its AccountError becomes an error of the form."""
    try:
        with transaction.atomic():
            change()
            transaction.set_rollback(True)
    except AccountError as error:
        form.add_error(None, str(error))


class NewTokenForm(TokenModelForm):
    """Create an API token for a user."""

    field_order = ("name", "scope", "clusters", "days", "networks")

    days = forms.IntegerField(
        label="Days until expiry",
        required=False,
        min_value=1,
        max_value=_LONGEST_LIFE,
        help_text="Leave empty for a token that never expires.",
    )
    clusters = LinesField(
        help_text="Names of clusters, one per line: the token reaches their jobs alone. Leave empty for all."
    )
    networks = LinesField(
        help_text="Addresses or networks, such as 10.0.0.0/8, from which the token may be used, one per line. Leave"
        " empty for any."
    )

    class Meta:
        """The fields of the token's row."""

        model = ApiToken
        fields = ("name", "scope", "clusters", "networks")

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        """Offer the scopes that are of use to the user."""
        super().__init__(*args, **kwargs)
        self._user = user
        if user.usual_scope == TokenScope.READ:
            self.fields["scope"] = forms.ChoiceField(
                choices=[(TokenScope.READ, "read: the jobs that this site shows to the user")],
                help_text="Other scopes need the role api.",
            )
        self.fields["scope"].required = False
        self.initial["scope"] = user.usual_scope

    def clean_networks(self) -> list[str]:
        """Return the networks in canonical form; report each invalid one."""
        networks, errors = [], []
        for text in self.cleaned_data["networks"]:
            try:
                networks.append(str(parse_network(text)))
            except ValueError as error:
                errors.append(str(error))
        if errors:
            raise ValidationError(errors)
        return networks

    def clean_scope(self) -> str:
        """Return the scope, the usual one if none was chosen."""
        return self.cleaned_data["scope"] or self._user.usual_scope

    def issue(self) -> tuple[ApiToken, str]:
        """Create the token; return it with its secret."""
        fields = ("name", "days", "scope", "clusters", "networks")
        return ApiToken.issue(user=self._user, **{field: self.cleaned_data[field] for field in fields})
