from django.apps import AppConfig

from apps.events import consumers


class ProvisioningConfig(AppConfig):
    name = "apps.provisioning"

    def ready(self) -> None:
        """Held orders go on as soon as the real-name check they wait for is through; lines follow what is demanded."""
        consumers.register("verification.completed", "provisioning.continue_held_orders")
        for news in ("reverification.step_taken", "reverification.passed", "reverification.withdrawn"):
            consumers.register(news, "provisioning.apply_reverification")
