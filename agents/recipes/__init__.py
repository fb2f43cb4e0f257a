"""Settings of algorithms: recipes by policy and environment, and what they may say."""
