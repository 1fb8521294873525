"""Tests of responder.rules."""
