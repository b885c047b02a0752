"""The tests of jaxad, and the mutants that show what they notice."""
