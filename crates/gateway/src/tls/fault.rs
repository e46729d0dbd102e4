//! How handshakes with clients end, in counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use evergate_config::TlsVersion;
use evergate_control::snapshot::TlsStats;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a handshake with a client failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It took longer than the listener allows.
    Timeout,
    /// The client speaks none of our versions.
    NoSharedVersion,
    /// No cipher, group or kind of signature is known to both.
    NoSharedCipher,
    /// There is no certificate to show, such as before an authority gave the first.
    NoCertificate,
    /// The client showed no certificate and has to.
    ClientCertMissing,
    /// The client's certificate is not good.
    ClientCertBad,
    /// The client's certificate was taken back.
    ClientCertRevoked,
    /// The client does not like ours.
    ClientAlert,
    /// It speaks, but not TLS.
    NotTls,
    /// It left.
    Gone,
    /// It does not keep to the protocol.
    Other,
}

/// Counts of one listener over all threads.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    tls12: AtomicU64,
    tls13: AtomicU64,
    resumed: AtomicU64,
    failures: [AtomicU64; Fault::ALL.len()],
}

impl Fault {
    /// Every one, in the order of declaration.
    pub(crate) const ALL: [Self; 11] = [
        Self::Timeout,
        Self::NoSharedVersion,
        Self::NoSharedCipher,
        Self::NoCertificate,
        Self::ClientCertMissing,
        Self::ClientCertBad,
        Self::ClientCertRevoked,
        Self::ClientAlert,
        Self::NotTls,
        Self::Gone,
        Self::Other,
    ];

    /// A short stable token for metrics and events.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoSharedVersion => "no_shared_version",
            Self::NoSharedCipher => "no_shared_cipher",
            Self::NoCertificate => "no_certificate",
            Self::ClientCertMissing => "client_cert_missing",
            Self::ClientCertBad => "client_cert_bad",
            Self::ClientCertRevoked => "client_cert_revoked",
            Self::ClientAlert => "client_alert",
            Self::NotTls => "not_tls",
            Self::Gone => "gone",
            Self::Other => "other",
        }
    }

    /// What `error` means for the operator.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(why) => match why {
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::NoSharedVersion,
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::NoEcPointFormatsInCommon => Self::NoSharedCipher,
                _ => Self::Other,
            },
            Error::NoCertificatesPresented => Self::ClientCertMissing,
            Error::InvalidCertificate(CertificateError::Revoked) => Self::ClientCertRevoked,
            Error::InvalidCertificate(_) => Self::ClientCertBad,
            Error::AlertReceived(AlertDescription::CloseNotify) => Self::Gone,
            Error::AlertReceived(_) => Self::ClientAlert,
            // rustls has no variant for it.
            Error::General(why) if why.contains("no server certificate chain") => {
                Self::NoCertificate
            }
            _ => Self::Other,
        }
    }
}

impl Handshakes {
    /// Counts a handshake that ended well.
    pub(crate) fn succeeded(&self, version: TlsVersion, resumed: bool) {
        match version {
            TlsVersion::Tls12 => &self.tls12,
            TlsVersion::Tls13 => &self.tls13,
        }
        .fetch_add(1, Relaxed);
        if resumed {
            self.resumed.fetch_add(1, Relaxed);
        }
    }

    /// Counts one that did not; says how many that makes for the same reason.
    pub(crate) fn failed(&self, fault: Fault) -> u64 {
        self.failures[fault as usize].fetch_add(1, Relaxed) + 1
    }

    /// The counts so far.
    pub(crate) fn stats(&self) -> TlsStats {
        let failures = Fault::ALL.iter().zip(&self.failures);
        TlsStats {
            handshakes: vec![
                ("TLSv1.2".to_owned(), self.tls12.load(Relaxed)),
                ("TLSv1.3".to_owned(), self.tls13.load(Relaxed)),
            ],
            resumed: self.resumed.load(Relaxed),
            failures: failures
                .map(|(fault, count)| (fault.reason().to_owned(), count.load(Relaxed)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_counter_and_a_name_of_its_own() {
        let handshakes = Handshakes::default();
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
            for _ in 0..=index {
                handshakes.failed(fault);
            }
        }
        let failures = handshakes.stats().failures;
        for (index, (reason, count)) in failures.iter().enumerate() {
            assert_eq!(*count, index as u64 + 1, "{reason}");
            assert_eq!(failures.iter().filter(|(other, _)| other == reason).count(), 1);
        }
    }
}
