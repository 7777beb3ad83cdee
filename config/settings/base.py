"""Settings shared by every environment. Secrets come from the environment and have no defaults here."""

from __future__ import annotations

import os
from typing import Any

from celery.schedules import crontab
from django.templatetags.static import static

from apps.core import keyring
from apps.core.logging import configuration as logging_configuration
from config import environment as env
from config.settings.menu import NAVIGATION

BASE_DIR = env.BASE_DIR

# --- Secrets and addresses ------------------------------------------------------------------------------------------
SECRET_KEY = env.text("KAIHU_SECRET_KEY")
# Master keys of personal data: "id:base64,..." (the first wraps the keys in the table, all open), and the key of blind
# indexes until the table has one; see apps/core/keyring.py.
KAIHU_DATA_KEYS = env.text("KAIHU_DATA_KEYS")
KAIHU_INDEX_KEY = env.text("KAIHU_INDEX_KEY")
for _name, _value, _parse in (
    ("KAIHU_DATA_KEYS", KAIHU_DATA_KEYS, keyring.parse_keys),
    ("KAIHU_INDEX_KEY", KAIHU_INDEX_KEY, keyring.parse_key),
):
    try:
        _parse(_value)
    except ValueError as _error:
        raise env.stop(f"{_name}: {_error}.") from None

# How long a process may not know of a new key.
KAIHU_KEYRING_SECONDS = env.number("KAIHU_KEYRING_SECONDS", 15)

# Where carriers reach us with callbacks, and where the real-name providers are.
KAIHU_PUBLIC_URL = env.text("KAIHU_PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
REALNAME_AUTHORITY_URL = env.text("REALNAME_AUTHORITY_URL", "http://127.0.0.1:9/realname/authority")
REALNAME_FACE_URL = env.text("REALNAME_FACE_URL", "http://127.0.0.1:9/realname/face")
REALNAME_TOKEN = env.text("REALNAME_TOKEN", "unset")
# Whom to ask when those have no answer; without an address nobody.
REALNAME_SECOND_AUTHORITY_URL = os.environ.get("REALNAME_SECOND_AUTHORITY_URL", "")
REALNAME_SECOND_FACE_URL = os.environ.get("REALNAME_SECOND_FACE_URL", "")
REALNAME_SECOND_SECRET = env.text("REALNAME_SECOND_SECRET", "unset")

# --- Django ---------------------------------------------------------------------------------------------------------
DEBUG = False
ALLOWED_HOSTS: list[str] = []
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "oauth2_provider",
    # ours, bottom to top
    "apps.core",
    "apps.audit",
    "apps.operators",
    "apps.accounts",
    "apps.events",
    "apps.numbering",
    "apps.sims",
    "apps.carriers",
    "apps.subscribers",
    "apps.lines",
    "apps.provisioning",
]
MIDDLEWARE = [
    "apps.core.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.middleware.BodyLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "var" / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Pictures of people: encrypted files, never under an address. Any storage of Django's will do.
    "images": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": env.text("KAIHU_IMAGE_FOLDER", str(BASE_DIR / "var" / "images")),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Uploads of people's pictures stay in memory: a temporary file would hold them in clear.
FILE_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024
# A font with Chinese letters for the marks on pictures that are shown; without one they are in Latin letters.
KAIHU_WATERMARK_FONT = os.environ.get("KAIHU_WATERMARK_FONT", "")
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 8 * 60 * 60
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

# --- PostgreSQL: the truth ------------------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **env.database("DATABASE_URL"),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
        # Statements are prepared on first use: the hot ones are short and run thousands of times a second. Compiling
        # them (jit) costs more than running them.
        "OPTIONS": {
            "server_side_binding": True,
            "prepare_threshold": 1,
            "connect_timeout": 5,
            "application_name": "kaihu",
            "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s -c jit=off",
        },
    }
}

# --- Redis and Celery: nudges and rate limits, nothing that would be missed -----------------------------------------
REDIS_URL = env.redis("REDIS_URL")
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "default"
# Carrier jobs name their queue themselves: one per host carrier.
CELERY_TASK_ROUTES = {
    "events.*": {"queue": "events"},
    "subscribers.*": {"queue": "realname"},
    # Paging through a carrier takes hours, repairs by the thousand minutes: apart from what must be quick.
    "provisioning.reconcile": {"queue": "reconciliation"},
    "provisioning.repair_discrepancies": {"queue": "reconciliation"},
}
# Calls that one worker process keeps in flight per host carrier; what a connection allows holds across all processes.
KAIHU_CARRIER_SLOTS = env.number("KAIHU_CARRIER_SLOTS", 512)
# For prefork pools; thread pools know no limits, and drains, which run as long as there is work, run in threads only.
CELERY_TASK_SOFT_TIME_LIMIT = 60
CELERY_TASK_TIME_LIMIT = 90
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 120,
    # Publishing to a dead broker fails at once (0: one try): the request has committed and must not wait for it.
    "max_retries": 0,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# What a lost nudge costs is the interval here; every task is safe to run twice at once.
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "provisioning.sweep": {"task": "provisioning.sweep", "schedule": 2.0, "options": {"expires": 10}},
    "provisioning.end_held_orders": {
        "task": "provisioning.end_held_orders",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "provisioning.start_scheduled_orders": {
        "task": "provisioning.start_scheduled_orders",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "provisioning.start_reconciliations": {
        "task": "provisioning.start_reconciliations",
        # In China, as TIME_ZONE says; after the carriers' own nightly work.
        "schedule": crontab(hour="2", minute="30"),
        "options": {"expires": 3600},
    },
    "provisioning.continue_reconciliations": {
        "task": "provisioning.continue_reconciliations",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "provisioning.warn_of_ending_papers": {
        "task": "provisioning.warn_of_ending_papers",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "subscribers.sweep": {"task": "subscribers.sweep", "schedule": 2.0, "options": {"expires": 10}},
    "subscribers.expire_verifications": {
        "task": "subscribers.expire_verifications",
        "schedule": 300.0,
        "options": {"expires": 300},
    },
    "subscribers.take_reverification_steps": {
        "task": "subscribers.take_reverification_steps",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "provisioning.apply_reverifications": {
        "task": "provisioning.apply_reverifications",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    # Documents end at midnight in China; four times a day, in case one is missed.
    "provisioning.warn_of_ending_documents": {
        "task": "provisioning.warn_of_ending_documents",
        "schedule": crontab(hour="0,6,12,18", minute="20"),
        "options": {"expires": 3600},
    },
    "lines.erase_former_holders": {
        "task": "lines.erase_former_holders",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "subscribers.erase_ended_listings": {
        "task": "subscribers.erase_ended_listings",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "subscribers.remove_erased_files": {
        "task": "subscribers.remove_erased_files",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
    "numbering.expire_reservations": {
        "task": "numbering.expire_reservations",
        "schedule": 5.0,
        "options": {"expires": 10},
    },
    "numbering.end_quarantines": {
        "task": "numbering.end_quarantines",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "numbering.begin_leases": {
        "task": "numbering.begin_leases",
        "schedule": 300.0,
        "options": {"expires": 300},
    },
    "numbering.continue_runs": {
        "task": "numbering.continue_runs",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "numbering.start_regrades": {
        "task": "numbering.start_regrades",
        # In China, as TIME_ZONE says.
        "schedule": crontab(hour="3", minute="0"),
        "options": {"expires": 3600},
    },
    "numbering.forget_runs": {
        "task": "numbering.forget_runs",
        "schedule": crontab(hour="3", minute="30"),
        "options": {"expires": 3600},
    },
    "numbering.fold_stock": {"task": "numbering.fold_stock", "schedule": 2.0, "options": {"expires": 2}},
    # The last of a day counts.
    "numbering.note_stock_day": {
        "task": "numbering.note_stock_day",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "events.relay": {"task": "events.relay", "schedule": 2.0, "options": {"expires": 10}},
    "audit.seal": {"task": "audit.seal", "schedule": 3.0, "options": {"expires": 10}},
    "accounts.forget_idempotency_keys": {
        "task": "accounts.forget_idempotency_keys",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "accounts.forget_expired_tokens": {
        "task": "accounts.forget_expired_tokens",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
}

# --- Who may call us ------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["apps.accounts.backends.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
OAUTH2_PROVIDER_APPLICATION_MODEL = "accounts.PartnerApp"
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "accounts.AccessToken"  # noqa: S105 - a model's name
OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL = "accounts.RefreshToken"  # noqa: S105 - a model's name
OAUTH2_PROVIDER_ID_TOKEN_MODEL = "accounts.IDToken"  # noqa: S105 - a model's name
OAUTH2_PROVIDER_GRANT_MODEL = "accounts.Grant"
OAUTH2_PROVIDER: dict[str, Any] = {
    "SCOPES": {
        "numbers:read": "See sellable numbers and reservations",
        "numbers:write": "Reserve numbers",
        "sims:read": "See SIM stock",
        "subscribers:read": "See subscribers, masked",
        "subscribers:write": "Register subscribers and start real-name checks",
        "orders:read": "See orders and plans",
        "orders:write": "Place and cancel orders",
        "lines:read": "See lines",
        "batches:write": "Send batches",
        "webhooks:manage": "Manage webhook endpoints",
        "events:read": "Read the event log",
    },
    "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    "ALLOWED_GRANT_TYPES": ["client_credentials"],
}

# --- REST -----------------------------------------------------------------------------------------------------------
KAIHU_MAX_BODY_BYTES = 1024 * 1024
# Where images are uploaded: 5 MB, and the form around them.
KAIHU_MAX_UPLOAD_BYTES = 5 * 1024 * 1024 + 64 * 1024
# Files of staff: 16 MB, and the form around them.
KAIHU_MAX_PAGE_BYTES = 16 * 1024 * 1024 + 64 * 1024
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["apps.core.api.formats.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "apps.core.api.formats.OrjsonRenderer",
        "apps.core.api.formats.ProblemRenderer",
    ],
    "DEFAULT_SCHEMA_CLASS": "apps.core.api.schema.KaihuSchema",
    "EXCEPTION_HANDLER": "apps.core.api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Kaihu partner API",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # The page asks nobody else: no badge from a validator on the internet.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.core.api.schema.describe",
    ],
    "ENUM_NAME_OVERRIDES": {
        "DisputeStatus": "apps.provisioning.states.DisputeStatus",
        "DemandReason": "apps.subscribers.api.serializers.DEMAND_REASONS",
        "DemandStatus": "apps.subscribers.api.serializers.DEMAND_STEPS",
        "DocumentType": "apps.subscribers.api.serializers.DOCUMENT_TYPES",
        "ImageKind": "apps.subscribers.api.serializers.IMAGE_KINDS",
        "JobStatus": "apps.provisioning.states.JobStatus",
        "LineStatus": "apps.lines.states.LineStatus",
        "OrderStatus": "apps.provisioning.states.OrderStatus",
        "ReservationStatus": "apps.numbering.states.ReservationStatus",
        "SimStatus": "apps.sims.states.SimStatus",
        "SubscriberKind": "apps.subscribers.api.serializers.KINDS",
        "SuspendReason": "apps.provisioning.api.serializers.SUSPEND_REASONS",
        "SuspensionKind": "apps.lines.api.serializers.KINDS",
        "SuspensionCause": "apps.lines.api.serializers.CAUSES",
        "TerminateReason": "apps.provisioning.api.serializers.TERMINATE_REASONS",
        "VerificationStatus": "apps.subscribers.states.VerificationStatus",
    },
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "oauth2": {
                "type": "oauth2",
                "flows": {
                    "clientCredentials": {"tokenUrl": "/oauth/token", "scopes": OAUTH2_PROVIDER["SCOPES"]}
                },
            }
        }
    },
    "SECURITY": [{"oauth2": []}],
}

# --- Admin ----------------------------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "Kaihu",
    "SITE_HEADER": "Kaihu 开户",
    "SITE_SYMBOL": "sim_card",
    # There is no other site to return to.
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("accounts/favicon.svg"),
        }
    ],
    "STYLES": [lambda request: static("accounts/admin.css")],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "apps.provisioning.dashboard.context",
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        }
    },
    "COMMAND": {"search_callback": "apps.accounts.admin_find.find"},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "navigation": NAVIGATION,
    },
}

LOGGING = logging_configuration()
