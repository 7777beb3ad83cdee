"""What it costs. Each benchmark measures its own ceiling in the same run: ratios count, absolute figures say little."""
