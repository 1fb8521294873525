"""What looks into an incident: the `chain` run (first look, agents, verification, post-mortem) and the `watch` run."""
