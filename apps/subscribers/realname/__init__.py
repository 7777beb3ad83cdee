"""Real-name rules without a database: how numbers and names are written, and what is checked in which order."""
