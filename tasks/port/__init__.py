"""`python -m tasks.port`: conversion of weights between the frameworks, and what is verified of it."""
