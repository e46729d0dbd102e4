//! Where the frames of a WebSocket begin and end.

use evergate_core::websocket::Frames;

/// A plain reader: where frames end in `input`, and whether the last one of them does.
fn ends(input: &[u8]) -> (Vec<usize>, bool) {
    let (mut ends, mut at) = (Vec::new(), 0usize);
    while let Some(&[_, second]) = input.get(at..at + 2) {
        let (bytes, mut header) = match second & 0x7f {
            126 => (2, 4),
            127 => (8, 10),
            _ => (0, 2),
        };
        let Some(length) = input.get(at + 2..at + 2 + bytes) else { break };
        let length = match bytes {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        header += if second & 0x80 == 0 { 0 } else { 4 };
        let left = input.len() - at;
        match usize::try_from(length).ok().and_then(|length| length.checked_add(header)) {
            Some(whole) if whole <= left => at += whole,
            Some(_) | None => break,
        }
        ends.push(at);
    }
    (ends, at == input.len())
}

/// However a stream is cut, frames end where a plain reader sees them end.
pub fn websocket(input: &[u8]) {
    let (ends, is_whole) = ends(input);
    let mut whole = Frames::default();
    whole.follow(input);
    assert_eq!(whole.is_at_boundary(), is_whole);
    let mut cut = Frames::default();
    let mut seen = Vec::new();
    for (index, byte) in input.iter().enumerate() {
        cut.follow(std::slice::from_ref(byte));
        if cut.is_at_boundary() {
            seen.push(index + 1);
        }
    }
    assert_eq!(seen, ends);
    assert_eq!(cut, whole);
    for (number, end) in ends.iter().enumerate() {
        let begin = if number == 0 { 0 } else { ends[number - 1] };
        let mut frames = Frames::default();
        frames.follow(&input[begin..begin + 1]);
        assert_eq!(frames.finish(&input[begin + 1..]), end - begin - 1);
    }
}
