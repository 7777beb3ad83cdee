"""What can be done with subscribers: one function per use case."""

from apps.subscribers.realname.documents import DocumentInput, DocumentType
from apps.subscribers.services.cases import claim_case, look_at_case, release_case
from apps.subscribers.services.consents import ConsentInput, record_consent, withdraw_consent
from apps.subscribers.services.examining import PersonInput
from apps.subscribers.services.export import export_subscriber
from apps.subscribers.services.freshness import expire_verifications
from apps.subscribers.services.images import (
    StoredFile,
    add_image,
    discard_image_file,
    open_image,
    remove_erased_files,
    reveal_images,
    store_image_file,
)
from apps.subscribers.services.notices import set_notice_template
from apps.subscribers.services.overrides import decide_override, propose_override
from apps.subscribers.services.register import register_individual, register_organization
from apps.subscribers.services.representatives import end_guardian, replace_representative
from apps.subscribers.services.retention import (
    erase_subscriber,
    lift_legal_holds,
    lock_for_erasure,
    note_handed_on,
    place_legal_hold,
    require_not_erased,
)
from apps.subscribers.services.reveal import (
    HolderIdentity,
    open_identity_for_carrier,
    reveal_document,
    reveal_representative,
)
from apps.subscribers.services.reverification import (
    Wanted,
    demand_for_documents,
    demand_of_many,
    demand_reverification,
    lock_to_apply,
    note_applied,
    take_due_steps,
    withdraw_demand,
)
from apps.subscribers.services.review import decide_review
from apps.subscribers.services.rotation import (
    SEALED,
    count_people_to_move,
    reindex_documents,
    reindex_representatives,
    reseal_people,
)
from apps.subscribers.services.verify import (
    claim_due_verifications,
    record_verification,
    request_verification,
    run_checks,
    run_due_verifications,
    sweep,
)
from apps.subscribers.services.watch_list import (
    apply_listings,
    erase_ended_listings,
    import_watch_list,
    lift_listing,
    list_person,
    reindex_watch_list,
)

__all__ = [
    "SEALED",
    "ConsentInput",
    "DocumentInput",
    "DocumentType",
    "HolderIdentity",
    "PersonInput",
    "StoredFile",
    "Wanted",
    "add_image",
    "apply_listings",
    "claim_case",
    "claim_due_verifications",
    "count_people_to_move",
    "decide_override",
    "decide_review",
    "demand_for_documents",
    "demand_of_many",
    "demand_reverification",
    "discard_image_file",
    "end_guardian",
    "erase_ended_listings",
    "erase_subscriber",
    "expire_verifications",
    "export_subscriber",
    "import_watch_list",
    "lift_legal_holds",
    "lift_listing",
    "list_person",
    "lock_for_erasure",
    "lock_to_apply",
    "look_at_case",
    "note_applied",
    "note_handed_on",
    "open_identity_for_carrier",
    "open_image",
    "place_legal_hold",
    "propose_override",
    "record_consent",
    "record_verification",
    "register_individual",
    "register_organization",
    "reindex_documents",
    "reindex_representatives",
    "reindex_watch_list",
    "release_case",
    "remove_erased_files",
    "replace_representative",
    "request_verification",
    "require_not_erased",
    "reseal_people",
    "reveal_document",
    "reveal_images",
    "reveal_representative",
    "run_checks",
    "run_due_verifications",
    "set_notice_template",
    "store_image_file",
    "sweep",
    "take_due_steps",
    "withdraw_consent",
    "withdraw_demand",
]
