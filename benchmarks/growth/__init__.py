"""How cost grows with what a store holds: more series, longer ones, more coverage records, more bytes."""
