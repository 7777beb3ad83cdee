"""Who is behind a line: people and companies, their identity documents, and the real-name checks the law wants."""
