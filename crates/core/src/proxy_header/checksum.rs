//! CRC32C (Castagnoli; RFC 3720, B.4), a bit at a time: a header is short, and few carry one.

/// Castagnoli's polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of `bytes`.
pub(super) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let fold = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_3720_hold() {
        assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
        assert_eq!(crc32c([0xff; 32].into_iter()), 0x62a8_ab43);
        assert_eq!(crc32c(0..32), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    }
}
