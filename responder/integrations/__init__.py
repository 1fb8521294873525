"""One file (or folder) an outside system: its settings, its code and its lifetime; each exports `plugin`."""
