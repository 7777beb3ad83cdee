"""What `make run` uses: a demo on this machine only, with secrets made on first start and kept under var/."""

from config import environment as env

env.load_files(env.BASE_DIR / "var" / "local.env", env.BASE_DIR / "var" / "demo.env")

from config.settings.base import *  # noqa: E402, F403

ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
# Static files straight from the packages: no collectstatic on a newcomer's machine.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
