"""`make bench`: figures as ratios against something run beside it, on the machine at hand."""
