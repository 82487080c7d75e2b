"""What every schema registry promises, one suite for each kind of promise."""
