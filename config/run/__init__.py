"""Running Kaihu on one machine: real servers, our processes, the main job, tests."""
