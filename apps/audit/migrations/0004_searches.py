"""Staff look for what somebody did, and for where something was done."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_seals")]

    operations = [
        migrations.AddIndex(
            model_name="auditevent", index=models.Index(fields=["actor_id"], name="audit_actor")
        ),
        migrations.AddIndex(
            model_name="auditevent", index=models.Index(fields=["action"], name="audit_action")
        ),
    ]
