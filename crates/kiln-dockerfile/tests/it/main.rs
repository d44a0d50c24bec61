//! What `plan` makes of each kind of environment, and of hostile values.

mod cases;
mod hostile;
mod parser;
mod refusals;
mod samples;
