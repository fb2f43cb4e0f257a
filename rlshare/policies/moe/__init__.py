"""Mixtures of experts as policies of Stable-Baselines3."""
