//! The docker backend: BuildKit builds through the Docker Engine.
