"""Comparing the carriers' own view of their lines with ours: fetched by pages, compared in SQL, decided by staff."""
