"""Many runs: studies that search for settings."""
