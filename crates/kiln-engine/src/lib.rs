//! Get-or-create of images: single flight, states, failure classes, events.
