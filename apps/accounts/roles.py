"""What each role may do: rights that services ask for (`actor.require`), and what the admin shows.

A right is "noun.verb" of the app whose service asks for it. Nothing of this is in the database: a change of rights is a
change of code, reviewed and tested.
"""

from __future__ import annotations

from apps.accounts.states import Role

_OPERATOR_RIGHTS = frozenset(
    {
        "accounts.manage",
        "dealers.manage",
        "disputes.decide",
        "disputes.open",
        "holders.check",
        "identity.export",
        "identity.reveal",
        "jobs.retry",
        "lines.suspend",
        "lines.terminate",
        "numbering.manage",
        "numbering.release_early",
        "orders.place",
        "realname.demand",
        "realname.review",
        "reconciliation.manage",
        "retention.hold",
        "sims.manage",
        "subscribers.register",
        "watchlist.manage",
    }
)

RIGHTS: dict[Role, frozenset[str]] = {
    Role.COMPLIANCE: frozenset(
        {
            "disputes.decide",
            "disputes.open",
            "holders.check",
            "identity.export",
            "identity.reveal",
            "lines.suspend",
            # To close what was opened in somebody's name without them.
            "lines.terminate",
            "numbering.release_early",
            "realname.demand",
            "realname.review",
            "retention.hold",
            "watchlist.manage",
        }
    ),
    Role.SUPPORT: frozenset(
        {"disputes.open", "holders.check", "lines.terminate", "orders.place", "subscribers.register"}
    ),
    Role.ENGINEER: frozenset({"jobs.retry", "reconciliation.manage"}),
    Role.OPERATOR_ADMIN: _OPERATOR_RIGHTS,
    Role.PLATFORM: _OPERATOR_RIGHTS | {"carriers.manage", "operators.manage"},
}

# Apps whose pages a role may open. Pages show rows of the own operator only, names and numbers masked.
_WORK = frozenset({"lines", "numbering", "provisioning", "sims", "subscribers"})

VISIBLE_APPS: dict[Role, frozenset[str]] = {
    Role.SUPPORT: _WORK,
    Role.COMPLIANCE: _WORK | {"audit", "operators"},
    Role.ENGINEER: _WORK | {"carriers", "events"},
    Role.OPERATOR_ADMIN: _WORK | {"accounts", "audit", "carriers", "events", "operators"},
    Role.PLATFORM: _WORK | {"accounts", "audit", "carriers", "events", "operators"},
}


def rights_of(role: str) -> frozenset[str]:
    return RIGHTS[Role(role)]


def may_see(role: str, app_label: str) -> bool:
    return app_label in VISIBLE_APPS[Role(role)]
