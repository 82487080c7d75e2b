"""What is known of an instance of one type, read from the schemas that it is valid against or not."""
