"""`make demo-fleet`: a fleet of ten processes fills a range, while one after the other of them is killed."""
