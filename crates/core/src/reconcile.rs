//! What to change so that what is becomes what should be.
