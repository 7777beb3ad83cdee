from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Built beside whatever goes on: on tens of millions of numbers it takes its time."""

    atomic = False

    dependencies = [("numbering", "0004_stock_and_homes")]

    operations = [
        AddIndexConcurrently(
            model_name="phonenumber",
            index=models.Index(
                condition=models.Q(("withheld_by__isnull", False)), fields=["number"], name="phone_number_withheld"
            ),
        ),
    ]
