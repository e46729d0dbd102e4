//! What Evergate is measured with: a load generator and an origin in one thread, the proxies it is
//! compared to, and the table that comes out.
//!
//! The generator and the origin share one epoll loop, so that together they need less of a core
//! than a fast proxy does: two separate programs fill their core first, and then every proxy looks
//! alike. Nothing here is part of the product; end-to-end tests use the generator as a library
//! through [`background::Background`].

pub mod background;
pub mod case;
pub mod certificate;
pub mod changes;
pub mod contender;
pub mod generator;
pub mod h2load;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod measure;
pub mod origin;
pub mod process;
pub mod restarts;
pub mod results;
pub mod tls;

mod client;
mod http;
