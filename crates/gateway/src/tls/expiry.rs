//! When people are told that a certificate ends.

use std::collections::BTreeMap;

use evergate_control::snapshot::CertificateStatus;

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// How often the certificates are looked at.
const LOOK_EVERY_SECONDS: u64 = 60;

/// What was told, and when.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    look_at: u64,
    /// In seconds of Unix time, by listener and names.
    told_at: BTreeMap<(String, Vec<String>), u64>,
}

impl Expiry {
    /// Whether it is time to look; times are in seconds of Unix time.
    pub(crate) fn is_due(&mut self, now: u64) -> bool {
        // A clock that was set back must not silence it.
        let is_due = now >= self.look_at || self.look_at - now > LOOK_EVERY_SECONDS;
        if is_due {
            self.look_at = now + LOOK_EVERY_SECONDS;
        }
        is_due
    }

    /// Of `all` certificates those to tell about at `now`: each once a day, and those that are
    /// renewed by us only after their time.
    pub(crate) fn tell(&mut self, now: u64, all: Vec<CertificateStatus>) -> Vec<CertificateStatus> {
        let ends_soon = |one: &CertificateStatus| {
            let is_ours_to_renew = one.renew_at.is_some_and(|at| now < at + DAY_SECONDS);
            now > one.warn_from && !is_ours_to_renew && one.not_after > 0
        };
        let soon: Vec<_> = all.into_iter().filter(ends_soon).collect();
        let key = |one: &CertificateStatus| (one.listener.clone(), one.names.clone());
        self.told_at.retain(|told, _| soon.iter().any(|one| key(one) == *told));
        let is_news = |one: &CertificateStatus| match self.told_at.get(&key(one)) {
            Some(at) if now >= *at && now - at < DAY_SECONDS => false,
            Some(_) | None => {
                self.told_at.insert(key(one), now);
                true
            }
        };
        soon.into_iter().filter(is_news).collect()
    }
}

/// What is wrong with `certificates` from files that end soon, a line each; `now` is in seconds of
/// Unix time.
pub fn ending_soon(now: u64, certificates: &[CertificateStatus]) -> Vec<String> {
    let soon = certificates.iter().filter(|one| one.source == "file" && now > one.warn_from);
    soon.map(|one| format!("listener.{}: {}", one.listener, in_words(now, one))).collect()
}

/// "the certificate for NAMES ends in 3 days", "… ended 1 day ago".
pub(crate) fn in_words(now: u64, certificate: &CertificateStatus) -> String {
    let days = |seconds: u64| match seconds / DAY_SECONDS {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let end = match certificate.not_after.checked_sub(now) {
        Some(left) => format!("ends in {}", days(left)),
        None => format!("ended {} ago", days(now - certificate.not_after)),
    };
    format!("the certificate for {} {end}", certificate.names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_800_000_000;
    const SOON_SECONDS: u64 = 14 * DAY_SECONDS;

    fn ending(in_seconds: u64) -> CertificateStatus {
        CertificateStatus {
            listener: "web".to_owned(),
            names: vec!["a.example".to_owned()],
            not_after: T0 + in_seconds,
            warn_from: T0 + in_seconds - SOON_SECONDS,
            ..CertificateStatus::default()
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_told_once_a_day_from_two_weeks_before() {
        let mut expiry = Expiry::default();
        let certificate = ending(SOON_SECONDS + DAY_SECONDS);
        let mut told = |at: u64| expiry.tell(at, vec![certificate.clone()]).len();
        assert_eq!(told(T0), 0);
        assert_eq!(told(T0 + DAY_SECONDS + 1), 1);
        assert_eq!(told(T0 + DAY_SECONDS + 2), 0);
        assert_eq!(told(T0 + 2 * DAY_SECONDS + 1), 1);
        assert_eq!(told(T0 + 30 * DAY_SECONDS), 1, "after its end all the more");
    }

    #[test]
    fn a_certificate_that_was_replaced_is_forgotten() {
        let mut expiry = Expiry::default();
        assert_eq!(expiry.tell(T0, vec![ending(60)]).len(), 1);
        assert_eq!(expiry.tell(T0, vec![ending(2 * SOON_SECONDS)]).len(), 0);
        assert_eq!(expiry.tell(T0, vec![ending(60)]).len(), 1);
    }

    #[test]
    fn one_that_we_renew_is_told_only_when_that_is_late() {
        let mut expiry = Expiry::default();
        let renewed = CertificateStatus { renew_at: Some(T0), ..ending(3 * DAY_SECONDS) };
        assert_eq!(expiry.tell(T0, vec![renewed.clone()]).len(), 0);
        assert_eq!(expiry.tell(T0 + DAY_SECONDS, vec![renewed]).len(), 1);
    }

    #[test]
    fn the_end_is_told_in_words() {
        assert_eq!(
            in_words(T0, &ending(3 * DAY_SECONDS + 5)),
            "the certificate for a.example ends in 3 days"
        );
        assert_eq!(
            in_words(T0, &ending(5)),
            "the certificate for a.example ends in less than a day"
        );
        assert_eq!(
            in_words(T0 + DAY_SECONDS, &ending(0)),
            "the certificate for a.example ended 1 day ago"
        );
    }
}
