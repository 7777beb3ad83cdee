"""What others may do with numbers; one module per use case family."""

from apps.numbering.services.allocation import return_unused_number, take_number
from apps.numbering.services.bulk import (
    apply_run,
    continue_runs,
    discard_run,
    forget_runs,
    preview_leases,
    preview_withholding,
)
from apps.numbering.services.claim import NumberCriteria
from apps.numbering.services.grading import (
    add_grade_rule,
    adopt_catalogue,
    policy_name,
    retire_grade_rule,
    set_grade_policy,
)
from apps.numbering.services.leasing import (
    activate_range,
    begin_leases,
    lease_range,
    plan_range,
    renew_lease,
    withdraw_plan,
)
from apps.numbering.services.quarantine import (
    approve_early_release,
    end_quarantines,
    quarantine_number,
    reject_early_release,
    request_early_release,
)
from apps.numbering.services.regrading import continue_regrade, start_regrade, start_regrades
from apps.numbering.services.reservations import (
    expire_reservations,
    extend_reservation,
    release_reservation,
    reserve,
)
from apps.numbering.services.returns import begin_return, finish_return, keep_range
from apps.numbering.services.shaping import merge_ranges, split_range
from apps.numbering.services.stock import fold_stock, note_stock_day, repair_stock
from apps.numbering.services.withholding import release_withheld_number, withhold_number

__all__ = [
    "NumberCriteria",
    "activate_range",
    "add_grade_rule",
    "adopt_catalogue",
    "apply_run",
    "approve_early_release",
    "begin_leases",
    "begin_return",
    "continue_regrade",
    "continue_runs",
    "discard_run",
    "end_quarantines",
    "expire_reservations",
    "extend_reservation",
    "finish_return",
    "fold_stock",
    "forget_runs",
    "keep_range",
    "lease_range",
    "merge_ranges",
    "note_stock_day",
    "plan_range",
    "policy_name",
    "preview_leases",
    "preview_withholding",
    "quarantine_number",
    "reject_early_release",
    "release_reservation",
    "release_withheld_number",
    "renew_lease",
    "repair_stock",
    "request_early_release",
    "reserve",
    "retire_grade_rule",
    "return_unused_number",
    "set_grade_policy",
    "split_range",
    "start_regrade",
    "start_regrades",
    "take_number",
    "withdraw_plan",
    "withhold_number",
]
