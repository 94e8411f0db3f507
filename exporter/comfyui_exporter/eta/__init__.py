"""When jobs will be done."""
