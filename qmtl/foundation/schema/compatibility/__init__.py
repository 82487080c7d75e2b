"""Whether what one schema wrote can be read with another, and an instance that shows where it cannot."""
