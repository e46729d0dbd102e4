//! Load generator, origin, contenders.
