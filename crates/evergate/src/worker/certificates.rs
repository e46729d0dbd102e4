//! Certificates of listeners: those that authorities issue while we serve, and how all of them
//! stand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evergate_acme::{Agents, Front, News, State, What, prepare_root};
use evergate_config::{Config, Level};
use evergate_console::when;
use evergate_control::snapshot::{AcmeStats, CertificateStatus};
use evergate_core::renewal::Failure;
use evergate_gateway::SharedIssuance;
use evergate_pki::{Identity, Particulars};

use super::control_plane::ControlPlane;

/// The gateway as those who deal with authorities see it.
#[derive(Debug)]
struct Gate(SharedIssuance);

impl Front for Gate {
    fn serve(&self, name: &str, identity: Identity) {
        self.0.serve(name, identity);
    }

    fn withdraw(&self, name: &str) {
        self.0.withdraw(name);
    }

    fn prove_over_http(&self, token: &str, answer: String) {
        self.0.prove_over_http(token, answer);
    }

    fn end_http_proof(&self, token: &str) {
        self.0.end_http_proof(token);
    }

    fn prove_in_handshake(&self, domain: &str, proof: Identity) {
        self.0.prove_in_handshake(domain, proof);
    }

    fn end_handshake_proof(&self, domain: &str) {
        self.0.end_handshake_proof(domain);
    }
}

/// Agents whose certificates and proofs the gateway shows.
pub(super) fn agents(issuance: &SharedIssuance) -> Agents {
    Agents::new(Arc::new(Gate(Arc::clone(issuance))))
}

/// Where `config` has certificates kept; nothing if it has no authority.
///
/// # Errors
/// Says what to do if there is no such place.
pub(super) fn root(config: &Config) -> Result<Option<PathBuf>, String> {
    let Some(name) = config.acme.keys().next() else { return Ok(None) };
    match prepare_root(&config.node.state_dir, None) {
        Ok(root) => Ok(Some(root)),
        Err(error) => Err(format!("acme.{name}: {error}")),
    }
}

impl ControlPlane {
    /// Has certificates for what the configuration in force says, and no others.
    pub(super) async fn follow_authorities(&mut self, root: Option<PathBuf>) {
        let root = root.as_deref().unwrap_or(Path::new(""));
        self.agents.set(root, &self.gateway.config().acme).await;
    }

    /// An event for what an agent tells.
    pub(super) fn tell_certificate(&mut self, news: &News) {
        let subject = format!("acme.{}", news.section);
        let (level, kind, reason) = match &news.what {
            What::Damaged { what } => (Level::Error, "acme_damaged", what.clone()),
            What::Ordered { cause } => (Level::Info, "acme_ordered", cause.as_str().to_owned()),
            What::Issued { not_after } => {
                let names = news.state.names.join(", ");
                (Level::Info, "acme_issued", format!("for {names}, ends {}", time(*not_after)))
            }
            What::Planned { at } => (Level::Info, "acme_renewal_planned", time(*at)),
            What::Postponed { until } => {
                let reason = format!("no order may begin before {}", time(*until));
                (Level::Warn, "acme_postponed", reason)
            }
            What::Crashed { why } => {
                let reason = format!("{why}; nothing is renewed before a restart");
                (Level::Error, "acme_failed", reason)
            }
            What::Failed { kind: _, why, retry_at, not_after } => {
                let level = if news.state.is_late { Level::Error } else { Level::Warn };
                (level, "acme_failed", failed(why, *retry_at, *not_after))
            }
        };
        self.gateway.events().push(level, kind, &subject, &reason);
    }

    /// Every certificate that is served or waited for, in order of listener.
    pub(super) fn certificates(&self) -> Vec<CertificateStatus> {
        let mut all = Vec::new();
        for (listener, config) in &self.gateway.config().listeners {
            let Some(tls) = &config.tls else { continue };
            let files = tls.certs.iter().map(|one| of_file(listener, one.identity.particulars()));
            all.extend(files);
            let Some(name) = &tls.acme else { continue };
            all.extend(self.agents.state(name).map(|state| of_authority(listener, name, state)));
        }
        all
    }

    /// Orders and plans of every `[acme.NAME]`.
    pub(super) fn acme_stats(&self) -> Vec<AcmeStats> {
        let all = self.agents.all().map(|(name, state, outcomes)| {
            let failed = |kind: &Failure| outcomes.failed.get(kind).copied().unwrap_or_default();
            let failed = Failure::ALL.iter().map(|kind| (kind.as_str().to_owned(), failed(kind)));
            AcmeStats {
                name: name.to_owned(),
                orders: [("issued".to_owned(), outcomes.issued)]
                    .into_iter()
                    .chain(failed)
                    .collect(),
                not_after: state.not_after,
                renew_at: state.renew_at.unwrap_or_default(),
            }
        });
        all.collect()
    }

    /// What is wrong with certificates from authorities, a line each.
    pub(super) fn late_certificates(&self) -> Vec<String> {
        let late = self.agents.all().filter(|(_, state, _)| state.is_late);
        let lines = late.map(|(name, state, _)| {
            let ends = match state.not_after {
                0 => "there is no certificate yet".to_owned(),
                at => format!("the certificate ends {}", time(at)),
            };
            match &state.failure {
                Some(why) => format!("acme.{name}: {ends}: {why}"),
                None => format!("acme.{name}: {ends}"),
            }
        });
        lines.collect()
    }
}

fn failed(why: &str, retry_at: u64, not_after: Option<u64>) -> String {
    let ends = not_after.map_or("there is no certificate yet".to_owned(), |at| {
        format!("the certificate that is served ends {}", time(at))
    });
    format!("{why}; next try {}; {ends}", time(retry_at))
}

fn of_file(listener: &str, particulars: &Particulars) -> CertificateStatus {
    CertificateStatus {
        listener: listener.to_owned(),
        source: "file".to_owned(),
        names: particulars.names.clone(),
        issuer: particulars.issuer.clone(),
        not_after: particulars.not_after,
        warn_from: particulars.warn_from(),
        renew_at: None,
        failure: None,
    }
}

fn of_authority(listener: &str, name: &str, state: &State) -> CertificateStatus {
    CertificateStatus {
        listener: listener.to_owned(),
        source: format!("acme.{name}"),
        names: state.names.clone(),
        issuer: state.issuer.clone(),
        not_after: state.not_after,
        warn_from: state.warn_from,
        renew_at: state.renew_at,
        failure: state.failure.clone(),
    }
}

fn time(unix: u64) -> String {
    format!("{} UTC", when::utc(unix * 1000))
}
