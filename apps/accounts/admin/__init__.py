"""The admin pages of accounts, and those of the two apps below it.

`operators` and `audit` may not import this app, and their pages need to know who looks; so their pages stand here.
"""

from django.contrib import admin
from oauth2_provider.models import (
    get_access_token_model,
    get_application_model,
    get_grant_model,
    get_id_token_model,
    get_refresh_token_model,
)

# django-oauth-toolkit registers editable pages of its own for the five models.
for _model in (
    get_application_model(),
    get_access_token_model(),
    get_grant_model(),
    get_id_token_model(),
    get_refresh_token_model(),
):
    admin.site.unregister(_model)

from apps.accounts.admin import accounts, audit, operators  # noqa: E402

__all__ = ["accounts", "audit", "operators"]
