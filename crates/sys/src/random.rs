//! The system's randomness, to seed the cores' generators and to make secrets.

use rustix::rand::{GetRandomFlags, getrandom};

/// A seed for [`evergate_core::rng::Rng`].
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Fills `bytes` with randomness fit for secrets; waits for the kernel's pool early after boot.
pub fn fill(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("every kernel since 3.17 has getrandom: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_long_buffer_is_filled() {
        // 1000 bytes exceed the 256 that one call fills without interruption.
        let mut bytes = [0u8; 1000];
        fill(&mut bytes);
        assert!(bytes.chunks(20).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
        assert_ne!(seed(), seed());
    }
}
