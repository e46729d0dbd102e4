//! The life of the processes that the keeper runs.
