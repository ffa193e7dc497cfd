"""List, plan, bump, build, check, rehearse and publish each package on its own cadence."""
