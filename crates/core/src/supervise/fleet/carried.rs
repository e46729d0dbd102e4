//! A fleet on its way from one keeper to the next.
//!
//! Everything is carried but what is still to be done: the shell drains that first. What is read is
//! looked over, so that nothing waits for ever for what is not there; times are taken as they are,
//! for the clock goes on. The blob that it comes in bounds how much there can be.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;

use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};

use super::Output;
use super::crew::Crew;

/// Reads all crews, and refuses any that cannot be.
pub(super) fn crews<C>(
    d: &mut Decoder<'_>,
    ctx: &mut C,
) -> Result<BTreeMap<String, Crew>, decode::Error> {
    let crews: BTreeMap<String, Crew> = d.decode_with(ctx)?;
    for (name, crew) in &crews {
        crew.check(name).map_err(decode::Error::message)?;
    }
    Ok(crews)
}

pub(super) mod outputs {
    use super::*;

    pub(in crate::supervise::fleet) fn encode<C, W: Write>(
        outputs: &VecDeque<Output>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        debug_assert!(outputs.is_empty(), "what is still to be done would be lost: {outputs:?}");
        e.null()?;
        Ok(())
    }

    pub(in crate::supervise::fleet) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<VecDeque<Output>, decode::Error> {
        d.skip()?;
        Ok(VecDeque::new())
    }
}
