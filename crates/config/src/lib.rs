//! The configuration: text in, [`Config`] or every error out.

mod model;

pub use model::*;
