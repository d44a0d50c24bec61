//! Generates a Dockerfile and its build context from a definition, its lock and base facts.
