"""The menu of the admin."""

from __future__ import annotations

from typing import Any

from django.urls import reverse_lazy


def _pages(*rows: tuple[str, str, str]) -> list[dict[str, Any]]:
    """Entries of the menu: title, icon and "app_model", each for those whose role may see the app."""
    return [
        {
            "title": title,
            "icon": icon,
            "link": reverse_lazy(f"admin:{model}_changelist"),
            "permission": lambda request, app=app: request.user.has_module_perms(app),
        }
        for title, icon, model in rows
        for app in model.split("_")[:1]
    ]


NAVIGATION: list[dict[str, Any]] = [
    {
        "items": [
            {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
            *_pages(
                ("Lines", "smartphone", "lines_line"),
                ("Orders", "assignment", "provisioning_serviceorder"),
                ("Carrier jobs", "cell_tower", "provisioning_activationjob"),
                ("Carrier callbacks", "call_received", "provisioning_carriercallback"),
                ("Reconciliation", "compare_arrows", "provisioning_reconciliationrun"),
                ("Discrepancies", "difference", "provisioning_discrepancy"),
            ),
        ]
    },
    {
        "title": "People",
        "items": _pages(
            ("Subscribers", "group", "subscribers_subscriber"),
            ("Documents", "badge", "subscribers_identitydocument"),
            ("Guardians, proxies", "supervisor_account", "subscribers_representative"),
            ("Real-name checks", "verified_user", "subscribers_verification"),
            ("Review queue", "rule_folder", "subscribers_reviewcase"),
            ("Numbers in a name", "person_search", "lines_holdercheck"),
            ("Disputes", "gavel", "provisioning_holderdispute"),
            ("Re-verification", "published_with_changes", "subscribers_reverificationdemand"),
            ("Notices", "campaign", "subscribers_noticetemplate"),
            ("Watch-list", "person_alert", "subscribers_watchlistentry"),
            ("Watch-list files", "upload_file", "subscribers_watchlistfile"),
        ),
    },
    {
        "title": "Stock",
        "items": _pages(
            ("Number ranges", "dialpad", "numbering_numberrange"),
            ("Stock", "monitoring", "numbering_rangestock"),
            ("Numbers", "tag", "numbering_phonenumber"),
            ("Early releases", "lock_open", "numbering_earlyrelease"),
            ("Reservations", "schedule", "numbering_reservation"),
            ("Grade rules", "star", "numbering_graderule"),
            ("Grade policies", "payments", "numbering_gradepolicy"),
            ("Bulk runs", "upload_file", "numbering_bulkrun"),
            ("SIM cards", "sim_card", "sims_simcard"),
            ("SIM batches", "inventory_2", "sims_simbatch"),
            ("Plans", "sell", "lines_plan"),
        ),
    },
    {
        "title": "Operator",
        "items": _pages(
            ("Operators", "store", "operators_virtualoperator"),
            ("Licences", "workspace_premium", "operators_licence"),
            ("Agreements", "handshake", "operators_wholesaleagreement"),
            ("Dealers", "storefront", "operators_dealer"),
            ("Policies", "rule", "operators_policy"),
            ("Carrier connections", "cable", "carriers_carrierconnection"),
        ),
    },
    {
        "title": "Reference",
        "items": _pages(
            ("Host carriers", "domain", "operators_hostcarrier"),
            ("Access codes", "pin", "operators_accesscode"),
            ("Document types", "id_card", "operators_documenttype"),
        ),
    },
    {
        "title": "Access",
        "items": _pages(
            ("Staff", "person", "accounts_user"),
            ("Partner apps", "key", "accounts_partnerapp"),
            ("Audit trail", "history", "audit_auditevent"),
        ),
    },
]
