//! What of a file goes to a client, if anything.
//!
//! Which name below the root a path stands for, whether the client has the file already, which
//! parts of it are wanted, and in which coding. All of it is decided from fields and numbers;
//! files are opened elsewhere.

mod coding;
mod condition;
mod date;
mod media_type;
mod path;
mod pattern;
mod range;

pub use coding::{Accepted, Choice, Coding};
pub use condition::{Conditions, Validators, Verdict};
pub use date::{DATE_BYTES, imf_fixdate, parse_date};
pub use media_type::{MediaType, media_type, takes_html};
pub use path::{Below, Dotfiles, NotThere, below};
pub use pattern::Pattern;
pub use range::{Ranges, Span, ranges};
