"""The WSGI application that gunicorn serves."""

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

from apps.core.middleware import limit_of

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def with_whole_bodies(application: Application) -> Application:
    """Gives chunked bodies a length, which Django would otherwise take for none at all and read nothing.

    At most one byte more than the limit is read, which is enough for the 413.
    """

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower() and environ.get(
            "wsgi.input_terminated"
        ):
            body = environ["wsgi.input"].read(limit_of(environ.get("PATH_INFO", "")) + 1)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return application(environ, start_response)

    return wrapped


application = with_whole_bodies(get_wsgi_application())
