"""What staff see of people, masked, and the cases that a person decides."""

from apps.subscribers.admin import people, reviews

__all__ = ["people", "reviews"]
