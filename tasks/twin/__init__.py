"""`python -m tasks.twin`: whether a Paddle model and a PyTorch model that the user wrote compute the same."""
