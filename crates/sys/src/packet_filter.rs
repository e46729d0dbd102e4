//! Classic BPF: what the kernel does not even queue, so that nobody wakes for it (bpf(4)).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Longest program that the kernel takes (`BPF_MAXINSNS`).
pub(crate) const INSTRUCTIONS_MAX: usize = 4096;

/// A packet is queued whole.
const WHOLE: u32 = u32::MAX;

/// A program; it ends by dropping what no [`Program::accept`] took.
///
/// Jumps of the machine reach 255 instructions only, so every test here decides within itself: it
/// drops, or accepts, or lets the next one have a look.
#[derive(Debug, Default)]
pub(crate) struct Program {
    instructions: Vec<libc::sock_filter>,
}

impl Program {
    /// Drops everything.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Loads the byte at `offset` into the accumulator.
    pub(crate) fn load_byte(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, offset)
    }

    /// Loads two bytes, in network order.
    pub(crate) fn load_half(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset)
    }

    /// Loads four bytes, in network order.
    pub(crate) fn load_word(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
    }

    /// Puts the length of the IPv4 header that begins at `offset` into the index.
    pub(crate) fn index_past_ipv4_header(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, offset)
    }

    /// Loads the byte at the index and `offset`.
    pub(crate) fn load_byte_past(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, offset)
    }

    /// Loads two bytes at the index and `offset`.
    pub(crate) fn load_half_past(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, offset)
    }

    /// Drops the packet unless the accumulator is `value`.
    pub(crate) fn require(&mut self, value: u32) -> &mut Self {
        self.jump(value, 1, 0).push(libc::BPF_RET | libc::BPF_K, 0)
    }

    /// Takes the packet if the accumulator is `value`.
    pub(crate) fn accept(&mut self, value: u32) -> &mut Self {
        self.jump(value, 0, 1).push(libc::BPF_RET | libc::BPF_K, WHOLE)
    }

    /// Takes the packet.
    #[cfg(test)]
    pub(crate) fn accept_all(&mut self) -> &mut Self {
        self.push(libc::BPF_RET | libc::BPF_K, WHOLE)
    }

    /// Drops the packet if the six bytes at `offset` are these.
    pub(crate) fn refuse_mac(&mut self, offset: u32, mac: [u8; 6]) -> &mut Self {
        let [a, b, c, d, e, f] = mac;
        self.load_word(offset)
            .jump(u32::from_be_bytes([a, b, c, d]), 0, 3)
            .load_half(offset + 4)
            .jump(u32::from(u16::from_be_bytes([e, f])), 0, 1)
            .push(libc::BPF_RET | libc::BPF_K, 0)
    }

    /// A program of instructions that were put together elsewhere.
    pub(crate) fn from_instructions(instructions: Vec<libc::sock_filter>) -> Self {
        Self { instructions }
    }

    /// Has the kernel run it on all that arrives at `socket` from now on, in place of any other.
    #[expect(unsafe_code, reason = "rustix has no filters")]
    pub(crate) fn attach(&self, socket: impl AsFd) -> io::Result<()> {
        let mut instructions = self.instructions.clone();
        instructions.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
        let Ok(length) = u16::try_from(instructions.len()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the filter is too long"));
        };
        let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
        // SAFETY: the descriptor is open as long as it is borrowed; `program` and the instructions
        // that it points to live until after the call, which only reads and checks them.
        let outcome = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Goes `yes` or `no` instructions on.
    fn jump(&mut self, value: u32, yes: u8, no: u8) -> &mut Self {
        let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        self.instructions.push(instruction(code, yes, no, value));
        self
    }

    fn push(&mut self, code: u32, k: u32) -> &mut Self {
        self.instructions.push(instruction(code, 0, 0, k));
        self
    }
}

pub(crate) fn instruction(code: u32, yes: u8, no: u8, k: u32) -> libc::sock_filter {
    // Every code is below 256 (linux/bpf_common.h).
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Which of `packets` get past `program`.
    fn passing(program: &Program, packets: &[&[u8]]) -> Vec<Vec<u8>> {
        let (near, far) = UnixDatagram::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        program.attach(&far).unwrap();
        for packet in packets {
            // What is refused at the other end is an error here, for local sockets.
            let _ = near.send(packet);
        }
        let mut buffer = [0; 64];
        std::iter::from_fn(|| far.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()))
            .collect()
    }

    #[test]
    fn an_empty_program_drops_all_and_another_takes_all() {
        assert!(passing(&Program::new(), &[b"a"]).is_empty());
        assert_eq!(passing(Program::new().accept_all(), &[b"a", b"b"]).len(), 2);
    }

    #[test]
    fn bytes_halves_and_words_are_compared_in_network_order() {
        let packets: &[&[u8]] = &[&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 3, 4, 9, 6, 7], &[1]];
        let mut byte = Program::new();
        assert_eq!(passing(byte.load_byte(4).accept(9), packets), [packets[1]]);
        let mut half = Program::new();
        assert_eq!(passing(half.load_half(4).accept(0x0506), packets), [packets[0]]);
        let mut word = Program::new();
        word.load_word(0).require(0x01020304).load_byte(4).accept(7).accept(5);
        assert_eq!(passing(&word, packets), [packets[0]], "too short is no match");
    }

    #[test]
    fn one_link_address_is_refused_and_others_are_not() {
        let mut program = Program::new();
        program.refuse_mac(1, [1, 2, 3, 4, 5, 6]).accept_all();
        let own: &[u8] = &[0, 1, 2, 3, 4, 5, 6];
        let others: [&[u8]; 2] = [&[0, 1, 2, 3, 4, 5, 7], &[0, 9, 2, 3, 4, 5, 6]];
        assert_eq!(passing(&program, &[own, others[0], others[1]]), others);
    }

    #[test]
    fn what_follows_an_ipv4_header_is_found_behind_its_options() {
        let mut program = Program::new();
        program.index_past_ipv4_header(0).load_byte_past(1).accept(51);
        let mut with_options = [0; 28];
        (with_options[0], with_options[25]) = (0x46, 51);
        let mut without = [0; 28];
        (without[0], without[21]) = (0x45, 51);
        let mut other = without;
        other[21] = 52;
        assert_eq!(passing(&program, &[&with_options, &without, &other]).len(), 2);
        let mut half = Program::new();
        half.index_past_ipv4_header(0).load_half_past(0).accept(0x33);
        assert_eq!(passing(&half, &[&other, &with_options]), [with_options]);
    }

    #[test]
    fn a_program_that_is_too_long_is_refused() {
        let mut program = Program::new();
        (0..INSTRUCTIONS_MAX).for_each(|_| {
            program.accept_all();
        });
        let (socket, _) = UnixDatagram::pair().unwrap();
        assert!(program.attach(&socket).is_err());
    }
}
