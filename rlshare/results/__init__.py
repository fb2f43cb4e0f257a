"""What runs came to: episodes, curves, intervals. Needs numpy alone."""
