"""What no model can say: counts follow every statement that touches numbers; one home area per ten-thousand block."""

from django.db import migrations

_STATES = {"available": 0, "reserved": 1, "in_use": 2, "quarantined": 3, "withheld": 4, "returned": 5}
_NAMES = ", ".join(_STATES)


def _sums(one: str) -> str:
    return ", ".join(
        f"coalesce(sum({one}) FILTER (WHERE n.status = {value}), 0)::int" for value in _STATES.values()
    )


# Statement triggers: their cost is per statement, and a claim, which changes one row, adds one row. Additions to
# numbering_stockchange never wait for each other, as updates of one counter would.
FORWARD = f"""
-- One look at what was added: it lies where it should (in the place of migration 0002's trigger), and it is counted.
CREATE FUNCTION numbering_count_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_wrong boolean;
BEGIN
    WITH block AS MATERIALIZED (
        SELECT range_id, operator_id, grade, status, count(*) AS many, min(number) AS lowest, max(number) AS highest
        FROM added GROUP BY range_id, operator_id, grade, status
    ), counted AS (
        INSERT INTO numbering_stockchange (range_id, operator_id, grade, {_NAMES})
        SELECT n.range_id, n.operator_id, n.grade, {_sums("n.many")}
        FROM block AS n GROUP BY n.range_id, n.operator_id, n.grade
    )
    SELECT EXISTS (
        SELECT FROM block
        LEFT JOIN numbering_numberrange AS r
            ON r.id = block.range_id AND r.operator_id = block.operator_id
            AND block.lowest >= r.first AND block.highest <= r.last
        WHERE r.id IS NULL
    ) INTO is_wrong;
    IF is_wrong THEN
        RAISE EXCEPTION 'a number lies outside its range, or belongs to another operator than its range'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'phone_number_in_range';
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER phone_number_added ON numbering_phonenumber;
CREATE TRIGGER phone_number_added AFTER INSERT ON numbering_phonenumber
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION numbering_count_added();

CREATE FUNCTION numbering_count_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO numbering_stockchange (range_id, operator_id, grade, {_NAMES})
    SELECT n.range_id, n.operator_id, n.grade, {_sums("n.more")}
    FROM (
        SELECT range_id, operator_id, grade, status, 1 AS more FROM after_change
        UNION ALL
        SELECT range_id, operator_id, grade, status, -1 FROM before_change
    ) AS n
    GROUP BY n.range_id, n.operator_id, n.grade;
    RETURN NULL;
END $$;

CREATE TRIGGER phone_number_counted_changed AFTER UPDATE ON numbering_phonenumber
    REFERENCING OLD TABLE AS before_change NEW TABLE AS after_change
    FOR EACH STATEMENT EXECUTE FUNCTION numbering_count_changed();

CREATE FUNCTION numbering_count_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO numbering_stockchange (range_id, operator_id, grade, {_NAMES})
    SELECT n.range_id, n.operator_id, n.grade, {_sums("-1")}
    FROM removed AS n GROUP BY n.range_id, n.operator_id, n.grade;
    RETURN NULL;
END $$;

CREATE TRIGGER phone_number_counted_removed AFTER DELETE ON numbering_phonenumber
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION numbering_count_removed();

INSERT INTO numbering_rangestock (range_id, operator_id, grade, {_NAMES})
SELECT n.range_id, n.operator_id, n.grade, {_sums("1")}
FROM numbering_phonenumber AS n GROUP BY n.range_id, n.operator_id, n.grade;

-- Stands in for the foreign key to reservations, which asks for every row: this one is queued for reserved numbers alone.
-- Asked at the end, since numbers are reserved before their reservation is written.
CREATE FUNCTION numbering_check_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM numbering_reservation WHERE id = NEW.reservation_id FOR KEY SHARE;
    IF NOT FOUND AND EXISTS (
        SELECT FROM numbering_phonenumber WHERE number = NEW.number AND reservation_id = NEW.reservation_id
    ) THEN
        RAISE EXCEPTION 'a number belongs to a reservation that does not exist'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'phone_number_reservation_exists';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER phone_number_reservation_exists
    AFTER INSERT OR UPDATE OF reservation_id ON numbering_phonenumber DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.reservation_id IS NOT NULL) EXECUTE FUNCTION numbering_check_reservation();

CREATE FUNCTION numbering_keep_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM numbering_phonenumber WHERE reservation_id = OLD.id) THEN
        RAISE EXCEPTION 'the reservation still has numbers'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'phone_number_reservation_exists';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER reservation_removed AFTER DELETE OR UPDATE OF id ON numbering_reservation
    FOR EACH ROW EXECUTE FUNCTION numbering_keep_reservation();

-- All ranges of a ten-thousand block that are not returned have one home area: the block's digits are the home register's.
CREATE FUNCTION numbering_check_home() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'RETURNED' THEN
        RETURN NULL;
    END IF;
    -- A step of its life changes no home: ranges of before this rule can take it, whatever their neighbours are.
    IF TG_OP = 'UPDATE' THEN
        IF OLD.status <> 'RETURNED' AND (OLD.first, OLD.last, OLD.home_province, OLD.home_city)
            = (NEW.first, NEW.last, NEW.home_province, NEW.home_city)
        THEN
            RETURN NULL;
        END IF;
    END IF;
    -- Two ranges of one block at once would not see each other.
    PERFORM pg_advisory_xact_lock(hashtextextended('numbering.home:' || NEW.first / 10000, 0));
    IF NEW.first / 10000 <> NEW.last / 10000 OR EXISTS (
        SELECT FROM numbering_numberrange AS other
        WHERE other.span && int8range(NEW.first / 10000 * 10000, NEW.first / 10000 * 10000 + 10000)
            AND other.status <> 'RETURNED' AND other.id <> NEW.id
            AND (other.home_province, other.home_city) <> (NEW.home_province, NEW.home_city)
    ) THEN
        RAISE EXCEPTION 'a ten-thousand block has one home area'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'number_range_one_home';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER number_range_one_home AFTER INSERT OR UPDATE OF first, last, home_province, home_city, status
    ON numbering_numberrange FOR EACH ROW EXECUTE FUNCTION numbering_check_home();

-- Room on the page for the next versions of numbers, so that they stay there; vacuum by count, since a fifth of a country
-- is far too late.
ALTER TABLE numbering_phonenumber SET (
    fillfactor = 90, autovacuum_vacuum_scale_factor = 0.005, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.01
);
ALTER TABLE numbering_rangestock SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE numbering_stockchange SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
"""  # noqa: S608 - only our own constants are formatted in

BACKWARD = """
ALTER TABLE numbering_stockchange RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE numbering_rangestock RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE numbering_phonenumber RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor
);
DROP TRIGGER reservation_removed ON numbering_reservation;
DROP TRIGGER phone_number_reservation_exists ON numbering_phonenumber;
DROP FUNCTION numbering_keep_reservation();
DROP FUNCTION numbering_check_reservation();
DROP TRIGGER number_range_one_home ON numbering_numberrange;
DROP FUNCTION numbering_check_home();
DROP TRIGGER phone_number_counted_removed ON numbering_phonenumber;
DROP TRIGGER phone_number_counted_changed ON numbering_phonenumber;
DROP TRIGGER phone_number_added ON numbering_phonenumber;
CREATE TRIGGER phone_number_added AFTER INSERT ON numbering_phonenumber
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION numbering_check_added_numbers();
DROP FUNCTION numbering_count_removed();
DROP FUNCTION numbering_count_changed();
DROP FUNCTION numbering_count_added();
"""


class Migration(migrations.Migration):
    dependencies = [("numbering", "0003_leases_grades_stock")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
