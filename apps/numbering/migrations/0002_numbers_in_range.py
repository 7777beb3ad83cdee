"""Stands in for foreign keys from numbers to their range and operator, at a cost per statement instead of per row."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION numbering_check_added_numbers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT range_id, operator_id, min(number) AS lowest, max(number) AS highest
            FROM added GROUP BY range_id, operator_id
        ) AS block
        LEFT JOIN numbering_numberrange AS r
            ON r.id = block.range_id AND r.operator_id = block.operator_id
            AND block.lowest >= r.first AND block.highest <= r.last
        WHERE r.id IS NULL
    ) THEN
        RAISE EXCEPTION 'a number lies outside its range, or belongs to another operator than its range'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'phone_number_in_range';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER phone_number_added AFTER INSERT ON numbering_phonenumber
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION numbering_check_added_numbers();

CREATE FUNCTION numbering_check_moved_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM numbering_numberrange AS r
        WHERE r.id = NEW.range_id AND r.operator_id = NEW.operator_id AND NEW.number BETWEEN r.first AND r.last
    ) THEN
        RAISE EXCEPTION 'a number lies outside its range, or belongs to another operator than its range'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'phone_number_in_range';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER phone_number_moved AFTER UPDATE OF number, range_id, operator_id ON numbering_phonenumber
    FOR EACH ROW EXECUTE FUNCTION numbering_check_moved_number();

CREATE FUNCTION numbering_check_changed_range() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM numbering_phonenumber AS n
        WHERE n.number BETWEEN OLD.first AND OLD.last AND n.range_id = OLD.id
            AND (TG_OP = 'DELETE'
                OR n.range_id <> NEW.id OR n.operator_id <> NEW.operator_id
                OR n.number NOT BETWEEN NEW.first AND NEW.last)
    ) THEN
        RAISE EXCEPTION 'the range still has numbers'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'phone_number_in_range';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER number_range_changed AFTER DELETE OR UPDATE OF id, operator_id, first, last ON numbering_numberrange
    FOR EACH ROW EXECUTE FUNCTION numbering_check_changed_range();
"""

BACKWARD = """
DROP TRIGGER number_range_changed ON numbering_numberrange;
DROP TRIGGER phone_number_moved ON numbering_phonenumber;
DROP TRIGGER phone_number_added ON numbering_phonenumber;
DROP FUNCTION numbering_check_changed_range();
DROP FUNCTION numbering_check_moved_number();
DROP FUNCTION numbering_check_added_numbers();
"""


class Migration(migrations.Migration):
    dependencies = [("numbering", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
