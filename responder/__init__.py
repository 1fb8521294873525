"""responder: alerts in, incidents and pages out, an investigation beside them."""

__version__ = "0.1.0"
