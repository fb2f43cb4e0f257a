"""Boosted trees as policies of Stable-Baselines3."""
