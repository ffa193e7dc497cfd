"""What is run: profiles, search, claims, and the plan of a study."""
