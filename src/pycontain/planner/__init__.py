"""A resident planner: a start asks it for the launch plan, and has not to wait for an interpreter (docs/planner.md)."""
