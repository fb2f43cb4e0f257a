"""Boosted trees under any torch loss, and their target networks."""
