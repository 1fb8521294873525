"""The HTTP side: the guard that every connection passes, the door for webhooks, the API, health and metrics."""
