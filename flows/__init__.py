"""What happens to a message: pure steps, and the Bytewax flows that compose them."""
