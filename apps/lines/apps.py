from django.apps import AppConfig

from apps.subscribers import holdings


class LinesConfig(AppConfig):
    name = "apps.lines"

    def ready(self) -> None:
        """The real-name checks, which are below us, learn from us how many lines somebody has."""
        holdings.register("apps.lines.selectors.count_places")
