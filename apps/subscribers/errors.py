"""What this app refuses with. No detail ever repeats a name or a number."""

from __future__ import annotations

from apps.core.errors import Conflict, Forbidden, RuleViolation


class DocumentInvalid(RuleViolation):
    """The document's number or dates cannot be right; `errors` says which and why."""

    code = "document_invalid"
    detail = "The identity document is not valid."


class DocumentTypeNotAccepted(RuleViolation):
    """The operator's policy does not accept this type of document (or nobody can check it yet)."""

    code = "document_type_not_accepted"
    detail = "This type of document is not accepted."


class DocumentExpired(RuleViolation):
    code = "document_expired"
    detail = "The identity document has expired."


class SubscriberUnderAge(RuleViolation):
    """Younger than the policy `realname.minimum_age` on the day of registration in China."""

    code = "subscriber_under_age"
    detail = "The person is too young to register alone."


class RepresentativeUnderAge(RuleViolation):
    """Guardian, proxy or responsible person is younger than the policy `realname.representative_age`."""

    code = "representative_under_age"
    detail = "Whoever stands for somebody else must be of age."


class RepresentativeIsHolder(RuleViolation):
    """Nobody is their own guardian or proxy."""

    code = "representative_is_holder"
    detail = "Holder and representative are the same person."


class RepresentativeMissing(RuleViolation):
    """An organization whose responsible person is no longer known must name one first."""

    code = "representative_missing"
    detail = "Nobody stands for this subscriber."


class GuardianNeeded(Conflict):
    """Too young to be without a guardian: name another one instead."""

    code = "guardian_needed"
    detail = "The person is too young to be without a guardian."


class GuardianNotNeeded(RuleViolation):
    """Whoever is old enough answers for themselves: another's face must not pass for theirs."""

    code = "guardian_not_needed"
    detail = "The person is old enough to be without a guardian."


class ProxyNotAccepted(RuleViolation):
    """Policy `realname.proxy_channels` takes none here, or somebody else stands for the subscriber already."""

    code = "proxy_not_accepted"
    detail = "No proxy is accepted here."


class RoleNotAccepted(RuleViolation):
    """A person has a guardian, an organization a responsible person."""

    code = "role_not_accepted"
    detail = "Nobody can stand for this subscriber in this role."


class AuthorisationLetterInvalid(RuleViolation):
    """Not a picture of an authorisation letter that this operator has; whose else it may be is not told."""

    code = "authorisation_letter_invalid"
    detail = "This is not the id of an uploaded authorisation letter."


class AuthorisationLetterMissing(RuleViolation):
    """Policy `realname.authorisation_letter_required`, of organizations."""

    code = "authorisation_letter_missing"
    detail = "The organization's authorisation letter has not been uploaded."


class NameInvalid(RuleViolation):
    code = "name_invalid"
    detail = "This cannot be the name on an identity document."


class TextInvalid(RuleViolation):
    """Address or phone number hold characters that do not belong there."""

    code = "text_invalid"
    detail = "A text holds characters that are not allowed."


class DocumentNameConflict(Conflict):
    """The operator has this document on file under another name.

    Nothing is overwritten: otherwise whoever knows a number could rename its holder. It is told openly because the same
    operator may ask for the document by number anyway; documents at other operators never play a part.
    """

    code = "document_name_conflict"
    detail = "This document is registered with another name."


class ExternalIdTaken(Conflict):
    """Another subscriber of the operator carries this external_id."""

    code = "external_id_taken"
    detail = "Another subscriber has this external_id."


class VerificationInProgress(Conflict):
    """One verification at a time, so that a doubtful one cannot be outrun by asking again."""

    code = "verification_in_progress"
    detail = "A verification of this subscriber is still open."


class EvidenceMissing(RuleViolation):
    """The operator's policy wants to be shown that the person was there."""

    code = "evidence_missing"
    detail = "This operator's policy wants a face session, or in a store the card reader and a photo."


class PhotoNotUsable(RuleViolation):
    """Not the id of an uploaded picture of this very person, or taken too long ago."""

    code = "photo_not_usable"
    detail = "This is not a new picture of kind person that was uploaded for this subscriber."


class EvidenceUsed(Conflict):
    """Each verification brings its own: what has shown somebody once proves nothing about another day."""

    code = "evidence_used"
    detail = "This face session or photo has been used for another verification."


class ReviewNeedsSecondPerson(Forbidden):
    """Nobody decides on what they entered themselves."""

    code = "review_needs_second_person"
    detail = "Somebody else must decide: you entered this subscriber or asked for this verification."


class ReviewClaimed(Conflict):
    """Two people must not do one case."""

    code = "review_claimed"
    detail = "Somebody else has taken this case."


class ReviewNotClaimed(Conflict):
    """Pictures are shown, and overrulings decided, by whoever has taken the case."""

    code = "review_not_claimed"
    detail = "Take the case first."


class CheckNotOverrulable(RuleViolation):
    """It did not fail, or for something that nobody may overrule."""

    code = "check_not_overrulable"
    detail = "What failed here cannot be overruled."


class OverridePending(Conflict):
    code = "override_pending"
    detail = "Somebody has proposed that already; a second person decides."


class OverrideNeeded(Conflict):
    """A failed check is overruled by two people, never by the one who reviews a doubtful one beside it."""

    code = "override_needed"
    detail = "A check has failed; let it fail, and propose to overrule it."


class ChecksUnanswered(Conflict):
    """A person decides what is doubtful; what nobody has answered is asked again."""

    code = "checks_unanswered"
    detail = "A check was never answered; let it fail, and ask for another verification."


class OverrideOvertaken(Conflict):
    code = "override_overtaken"
    detail = "A newer real-name check counts; this one needs no decision any more."


class ReasonMissing(RuleViolation):
    """Clear text and decisions by hand need a reason that an auditor can read."""

    code = "reason_missing"
    detail = "Give a reason of at least five characters."


class IdentityNotVerified(RuleViolation):
    """The subscriber has no verification that passed. Order 25 art. 10; Cybersecurity Law art. 24."""

    code = "identity_not_verified"
    detail = "The subscriber's identity has not been verified."


class IdentityExpired(RuleViolation):
    """The last verification that passed is too old."""

    code = "identity_expired"
    detail = "The verification of the subscriber's identity has expired."


class ConsentMissing(RuleViolation):
    """The operator's policy `realname.consent_required` wants the person's consent to be recorded."""

    code = "consent_missing"
    detail = "This operator's policy wants the person's consent for the purpose real_name."


class ImageTooLarge(RuleViolation):
    code = "image_too_large"
    detail = "An image has at most 5 MB and 30 million pixels."


class ImageTypeNotAccepted(RuleViolation):
    """By its content, whatever it is called."""

    code = "image_type_not_accepted"
    detail = "An image is a JPEG or PNG file."


class ImageUnreadable(RuleViolation):
    code = "image_unreadable"
    detail = "The image is broken."


class SubscriberErased(Conflict):
    """The time to keep the person's data is over; they may register again."""

    code = "subscriber_erased"
    detail = "The data of this subscriber has been erased."


class TooManyReveals(Forbidden):
    """Policy `identity.reveals_per_hour`, of one member of staff."""

    code = "too_many_reveals"
    detail = "You have looked at too many identities; try again later."


class DemandAlreadyOpen(Conflict):
    """The same is demanded of the same person, for the same line, already."""

    code = "demand_already_open"
    detail = "This has been demanded already and is still open."


class NoticeMissing(RuleViolation):
    """Nobody is suspended without being told why (Anti-Telecom-Fraud Law art. 32): the seeds bring the words."""

    code = "notice_missing"
    detail = "There are no words for what the person has to be told."


class NoticeInvalid(RuleViolation):
    code = "notice_invalid"
    detail = "A text is empty, too long, or names something that is not known."


class WatchListInvalid(RuleViolation):
    """What was to be listed cannot be; `errors` names every bad row or field, and repeats no cell."""

    code = "watch_list_invalid"
    detail = "Nothing was listed."


class NationalListForbidden(Forbidden):
    """Only staff of the platform keep the list that counts for all operators."""

    code = "national_list_forbidden"
    detail = "The national list is kept by the platform's staff."
