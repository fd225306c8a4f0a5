"""The plan: the document between the compiler and everything that reads it."""
