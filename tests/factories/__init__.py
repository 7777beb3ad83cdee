"""Builders for tests. They call services, so that what tests start from is what the system can really be in."""
