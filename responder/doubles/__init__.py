"""Strict stand-ins for the outside world: real HTTP servers on loopback that refuse what the real ones refuse."""
