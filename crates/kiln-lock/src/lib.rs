//! The lock of an environment, facts about its base image, and the keys made from them.
