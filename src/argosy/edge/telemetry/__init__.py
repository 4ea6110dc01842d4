"""What is told of the work to those who look at it later."""
