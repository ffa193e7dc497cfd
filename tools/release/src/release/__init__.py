"""Commands to list, plan, bump, build, check, rehearse and publish each package separately."""
