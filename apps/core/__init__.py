"""What every app needs and no noun of the field: errors, actors, clock, transactions, states, sealing, API manners."""
