"""Tests of responder.runbooks."""
