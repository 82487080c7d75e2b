"""What every service of this package shares on its way to HTTP: who may enter, how much, and how it runs."""
