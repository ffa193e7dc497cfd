"""The protocol: profiles, search, claims, and the plan of a study."""
