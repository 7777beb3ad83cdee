"""`make faults`: the whole system in real processes, broken on purpose, and a checker of what must never happen."""
