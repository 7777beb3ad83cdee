"""What others may do with lines; one module per use case family.

Everything here joins the caller's transaction and locks in the order of `core.db.LOCK_ORDER`.
"""

from apps.lines.services.changes import change_number, change_plan, change_sim, detach_line, transfer_line
from apps.lines.services.export import export_person
from apps.lines.services.holder_checks import ask_for_holdings, require_allowance
from apps.lines.services.life import Blame, abandon_line, activate_line, open_line, terminate_line
from apps.lines.services.plans import offer_plan
from apps.lines.services.retention import erase_former_holder, erase_former_holders
from apps.lines.services.rotation import count_slots_to_move, reindex_holders
from apps.lines.services.slots import (
    Places,
    promise_places,
    release_promised_places,
    take_holder_slot,
    take_places,
)
from apps.lines.services.suspensions import By, lift_suspensions, place_suspension
from apps.lines.services.users import change_actual_user, find_user

__all__ = [
    "Blame",
    "By",
    "Places",
    "abandon_line",
    "activate_line",
    "ask_for_holdings",
    "change_actual_user",
    "change_number",
    "change_plan",
    "change_sim",
    "count_slots_to_move",
    "detach_line",
    "erase_former_holder",
    "erase_former_holders",
    "export_person",
    "find_user",
    "lift_suspensions",
    "offer_plan",
    "open_line",
    "place_suspension",
    "promise_places",
    "reindex_holders",
    "release_promised_places",
    "require_allowance",
    "take_holder_slot",
    "take_places",
    "terminate_line",
    "transfer_line",
]
