"""`make demo-postgres`: two machines share one store on PostgreSQL, and one of them is killed."""
