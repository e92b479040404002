"""Compose, plan and run experiment sweeps for bilingual post-training."""
