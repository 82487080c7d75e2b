"""`make demo-questdb`: QuestDB is killed, and loses its newest rows, under a store with its bars there."""
