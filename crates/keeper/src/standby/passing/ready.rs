//! IPv6 addresses that are about to be claimed, put there before: what arrives from then on is not to
//! be thrown away, of clients that were told first, and what the old node has caught.

use evergate_core::standby::RouterKey;
use evergate_core::time::Instant;

use super::super::Running;

impl Running {
    /// Puts IPv6 addresses there, and sees to it that they can be reached; whether they can. One that
    /// is not claimed after all is one too many, and goes.
    pub(super) fn make_ready(
        &mut self,
        now: Instant,
        routers: impl Iterator<Item = RouterKey>,
    ) -> bool {
        let mut spots = Vec::new();
        for key in routers {
            let Some(vip) = self.vips.get(&key) else { continue };
            let Some(link) = self.network.interfaces().find(&vip.wish().interface) else {
                continue;
            };
            let (interface, addresses) = (link.index, vip.addresses().to_vec());
            for (ip, prefix) in addresses.into_iter().filter(|(ip, _)| ip.is_ipv6()) {
                self.put(now, (interface, ip), key, prefix);
                spots.push((interface, ip));
            }
        }
        self.network.finish(&spots)
    }
}
