//! The keeper: sockets, children, and the loop that outlives the worker.
