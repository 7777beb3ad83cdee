"""Whoever opened a dispute does not decide it. Not validated: what was decided before the rule stays as it was."""

from __future__ import annotations

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("provisioning", "0006_gates")]

    operations = [
        AddConstraintNotValid(
            model_name="holderdispute",
            constraint=models.CheckConstraint(
                condition=models.Q(("decided_by", models.F("opened_by")), _negated=True),
                name="holder_dispute_four_eyes",
            ),
        ),
    ]
