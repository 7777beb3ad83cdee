"""Orders, the carrier jobs that carry them out, the callbacks that end them: one app, for they change together."""
