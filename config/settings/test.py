"""Tests: the same code on real servers; only secrets, hashing cost and addresses differ."""

import base64
import os

os.environ.setdefault("KAIHU_SECRET_KEY", "only-for-tests-" + "x" * 40)
os.environ.setdefault("KAIHU_DATA_KEYS", "t1:" + base64.b64encode(b"\x01" * 32).decode())
os.environ.setdefault("KAIHU_INDEX_KEY", base64.b64encode(b"\x02" * 32).decode())
# Read once per process: a query now and then would disturb tests that count them.
os.environ.setdefault("KAIHU_KEYRING_SECONDS", "86400")

from config.settings.base import *  # noqa: F403

ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
