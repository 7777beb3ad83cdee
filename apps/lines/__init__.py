"""Lines: one mobile service of a subscriber, with its number, its SIM and its place under the five-cards limit."""
