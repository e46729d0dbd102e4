//! TCP connections to virtual addresses, while these move to another node: which there are, which
//! packets of them listening sockets see, and catching packets to pass them on.

mod assembler;
pub mod capture;
pub mod filter;
pub mod packet;
pub mod shade;
#[cfg(test)]
mod tests;
