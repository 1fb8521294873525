"""Approval and the one executor will stand here: this version changes nothing outside itself."""
