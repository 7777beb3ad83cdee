"""Production: everything from the environment, cookies over TLS only, files collected and hashed."""

import os

from config import environment as env
from config.settings.base import *  # noqa: F403
from config.settings.base import STORAGES

for _name in ("KAIHU_FAULTS", "KAIHU_SABOTAGE"):
    if os.environ.get(_name):
        raise env.stop(f"{_name} is set: the hooks of the fault suite do not belong into production.")

ALLOWED_HOSTS = [host.strip() for host in env.text("KAIHU_ALLOWED_HOSTS").split(",")]
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS]
SECURE_SSL_REDIRECT = env.flag("KAIHU_SSL_REDIRECT", True)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SESSION_COOKIE_NAME = "__Host-kaihu"
STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
