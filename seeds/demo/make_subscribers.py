"""Writes subscribers.csv beside it: the sample people of the main job and how each of their orders has to end.

Nobody in it exists: everybody was born on 1900-01-01 with the sequence number 000, which was never given out, and
people differ by their area code. Some rows must fail, each for another reason, and some must succeed although the
carrier or a provider behaves badly (the magic values of the simulator).

    python seeds/demo/make_subscribers.py
"""

from __future__ import annotations

import csv
from pathlib import Path

OPERATORS = ("alibaba", "xiaomi", "jd")
PEOPLE_PER_OPERATOR = 66
SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
GIVEN = ("示例", "样本", "测试", "试用", "模拟", "演示", "范例", "假设")
COLUMNS = (
    "operator",
    "external_id",
    "name",
    "document_type",
    "document_number",
    "valid_until",
    "plan",
    "number",
    "iccid_ending",
    "expect",
    "expect_code",
    "note",
)
PLANS = {"alibaba": ("ALI-U-19", "ALI-U-59"), "xiaomi": ("MI-U-19", "MI-U-59"), "jd": ("JD-U-19", "JD-U-59")}

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def resident_id(area: str, birth: str = "19000101") -> str:
    """A resident identity number with sequence 000 and its MOD 11-2 check character (GB 11643)."""
    digits = f"{area}{birth}000"
    return digits + "10X98765432"[sum(int(d) * w for d, w in zip(digits, _WEIGHTS, strict=True)) % 11]


def wrong_check(number: str) -> str:
    return number[:-1] + ("0" if number[-1] != "0" else "1")


def rows() -> list[dict[str, str]]:
    people: list[dict[str, str]] = []

    def add(operator: str, **values: str) -> None:
        count = sum(row["operator"] == operator for row in people) + 1
        person = len(people)
        row = dict.fromkeys(COLUMNS, "")
        row |= {
            "operator": operator,
            "external_id": f"{operator}-{count:03d}",
            "name": SURNAMES[person % len(SURNAMES)] + GIVEN[person // len(SURNAMES) % len(GIVEN)],
            "document_type": "resident_id",
            "document_number": resident_id(f"{110101 + person}"),
            "plan": PLANS[operator][person % 2],
            "expect": "ACTIVE",
        }
        people.append(row | values)

    for operator in OPERATORS:
        for _ in range(PEOPLE_PER_OPERATOR):
            add(operator)

    # Succeed although something goes wrong on the way.
    add(
        "alibaba",
        iccid_ending="9002",
        note="the carrier accepts, but its answer is lost: asked, not sent twice",
    )
    add("alibaba", iccid_ending="9004", note="the carrier calls back twice")
    add("xiaomi", iccid_ending="9005", note="the carrier is busy first (429)")
    add("xiaomi", iccid_ending="9006", note="the carrier calls back late: it is asked before")
    add("jd", iccid_ending="9007", note="a forged callback comes first")
    add("jd", document_number=resident_id("700006"), note="the authority is down twice, then answers")
    add("jd", name="阿卜杜拉·样本", note="a name with a middle dot")

    # Fail, each for another reason.
    good = resident_id("120101")
    add(
        "alibaba",
        document_number=wrong_check(good),
        expect="REFUSED",
        expect_code="document_invalid",
        note="wrong check digit",
    )
    add(
        "alibaba",
        document_number=resident_id("120102", "19000230"),
        expect="REFUSED",
        expect_code="document_invalid",
        note="30 February",
    )
    add(
        "alibaba",
        document_number=resident_id("120103", "20200101"),
        expect="REFUSED",
        expect_code="subscriber_under_age",
        note="under age",
    )
    add(
        "xiaomi",
        document_type="passport",
        document_number="X00000000",
        expect="REFUSED",
        expect_code="document_type_not_accepted",
        note="a type this operator does not accept",
    )
    add(
        "xiaomi",
        valid_until="2001-01-01",
        expect="REFUSED",
        expect_code="document_expired",
        note="expired document",
    )
    add(
        "xiaomi",
        document_number=resident_id("700002"),
        expect="FAILED",
        expect_code="identity_not_verified",
        note="the authority knows the number under another name",
    )
    add(
        "jd",
        document_number=resident_id("700003"),
        expect="FAILED",
        expect_code="identity_not_verified",
        note="the face does not match",
    )
    add(
        "jd",
        document_number=resident_id("700007"),
        expect="FAILED",
        expect_code="identity_not_verified",
        note="the document was declared void",
    )
    add(
        "alibaba",
        document_number=resident_id("700004"),
        expect="HELD",
        expect_code="identity_not_verified",
        note="the face is uncertain: held for a reviewer",
    )
    add(
        "jd",
        iccid_ending="9001",
        expect="FAILED",
        expect_code="carrier_plan_invalid",
        note="the carrier refuses for business reasons: number, SIM and slot are free again",
    )
    add(
        "xiaomi",
        number="@alibaba",
        expect="REFUSED",
        expect_code="number_not_available",
        note="a number of another operator",
    )
    add(
        "jd",
        iccid_ending="@mobile",
        expect="REFUSED",
        expect_code="sim_wrong_carrier",
        note="a SIM of another host carrier",
    )
    sixth = resident_id("130101")
    for card in range(1, 7):
        last = card == 6
        add(
            "alibaba",
            name="钱五卡",
            document_number=sixth,
            expect="REFUSED" if last else "ACTIVE",
            expect_code="holder_limit_reached" if last else "",
            note=f"card {card} of one person",
        )
    return people


def main() -> None:
    with (Path(__file__).parent / "subscribers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows())


if __name__ == "__main__":
    main()
