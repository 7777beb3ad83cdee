"""Numbers: leased ranges, the numbers in them, reservations; from lease to quarantine and back."""
