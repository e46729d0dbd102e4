//! The verbs of the operating system that Evergate needs, each safe to call.
