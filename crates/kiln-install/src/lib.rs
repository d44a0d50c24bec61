//! Installs a lock inside a container build step.
