//! Programs of classic BPF with labels: conditional jumps of the machine reach 255 instructions,
//! long ones go by way of a plain jump.

use crate::packet_filter::{Program, instruction};

/// A place to jump to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Label(usize);

/// A program being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<libc::sock_filter>,
    /// Where each label is.
    places: Vec<Option<usize>>,
    /// Plain jumps whose distance is not known yet.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A place that is to be said later ([`Self::place`]).
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label is here.
    pub(super) fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.instructions.len());
    }

    /// Anything without a jump.
    pub(super) fn push(&mut self, code: u32, k: u32) {
        self.instructions.push(instruction(code, 0, 0, k));
    }

    /// Loads from the packet, `size` being one of `BPF_B`, `BPF_H` and `BPF_W`.
    pub(super) fn load(&mut self, size: u32, offset: u32) {
        self.push(libc::BPF_LD | size | libc::BPF_ABS, offset);
    }

    /// Loads from the packet, the index added to the offset.
    pub(super) fn load_indexed(&mut self, size: u32, offset: u32) {
        self.push(libc::BPF_LD | size | libc::BPF_IND, offset);
    }

    /// Computes with the accumulator and a number.
    pub(super) fn compute(&mut self, operation: u32, k: u32) {
        self.push(libc::BPF_ALU | operation | libc::BPF_K, k);
    }

    /// Computes with the accumulator and the index.
    pub(super) fn compute_indexed(&mut self, operation: u32) {
        self.push(libc::BPF_ALU | operation | libc::BPF_X, 0);
    }

    /// The program ends; whether the packet is taken.
    pub(super) fn end(&mut self, takes: bool) {
        self.push(libc::BPF_RET | libc::BPF_K, if takes { u32::MAX } else { 0 });
    }

    /// Goes on at the label.
    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(libc::BPF_JMP | libc::BPF_JA, 0);
    }

    /// Goes on at the label if the accumulator compares to `k` so, else with what follows.
    pub(super) fn jump_if(&mut self, comparison: u32, k: u32, to: Label) {
        self.skip_unless(comparison, k, 1);
        self.jump(to);
    }

    /// Skips so many instructions unless the accumulator compares to `k` so.
    pub(super) fn skip_unless(&mut self, comparison: u32, k: u32, count: u8) {
        let code = libc::BPF_JMP | comparison | libc::BPF_K;
        self.instructions.push(instruction(code, 0, count, k));
    }

    /// Skips so many instructions if the accumulator is `k`.
    pub(super) fn skip_if_equal(&mut self, k: u32, count: u8) {
        let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        self.instructions.push(instruction(code, count, 0, k));
    }

    /// Skips so many instructions if the accumulator is greater than `k`.
    pub(super) fn skip_if_greater(&mut self, k: u32, count: u8) {
        let code = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
        self.instructions.push(instruction(code, count, 0, k));
    }

    /// The program, with every label in its place.
    pub(super) fn finish(mut self) -> Program {
        for (at, label) in self.jumps {
            let place = self.places[label.0].expect("a label that is jumped to is placed");
            // The machine goes forward only.
            debug_assert!(place > at);
            self.instructions[at].k = (place - at - 1) as u32;
        }
        Program::from_instructions(self.instructions)
    }
}
