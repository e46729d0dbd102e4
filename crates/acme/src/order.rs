//! One order from beginning to end (RFC 8555, 7.4): account, order, proofs, request, certificate.
//!
//! An authority may refuse any request for its nonce (6.5): such a request is sent again.

use std::sync::Arc;
use std::time::Duration;

use evergate_config::{Acme, Challenge};
use evergate_core::renewal::{Failure, Input};
use evergate_pki::Authorities;
use evergate_sys::clock;
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error,
    Identifier, NewAccount, NewOrder, Order, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::proof::{self, Shown};
use crate::store::{self, Issued};
use crate::trouble::{Trouble, is_problem, words};
use crate::{Front, trouble};

/// For a whole order.
const ORDER_WITHIN: Duration = Duration::from_secs(300);
/// How often a request is sent at most whose nonce is refused; the library tries thrice each time.
const NONCE_TRIES_MAX: u32 = 8;
/// Wait before an order is looked at for the first time; doubled each time.
const POLL_MIN: Duration = Duration::from_millis(250);
/// Longest wait before an order is looked at again, unless the authority asks for more.
const POLL_MAX: Duration = Duration::from_secs(5);
/// Longest such wait that the authority can ask for.
const POLL_ASKED_MAX: Duration = Duration::from_secs(60);
/// How far the authority's clock may be ahead of ours.
const CLOCK_SKEW_MAX: u64 = 3600;

/// What deals with one authority for one section.
pub(crate) struct Clerk {
    section: Acme,
    client: Client,
    front: Arc<dyn Front>,
}

impl Clerk {
    pub(crate) fn new(section: Acme, front: Arc<dyn Front>) -> Self {
        let public;
        let authorities = match &section.ca {
            Some(file) => &file.content,
            None => {
                public = Authorities::public();
                &public
            }
        };
        Self { client: Client::new(authorities), section, front }
    }

    /// Makes an account at the authority.
    pub(crate) async fn open_account(&self) -> Result<store::Account, Trouble> {
        let contact = self.section.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let mut nonces = Nonces::default();
        let credentials = loop {
            let builder = Account::builder_with_http(Box::new(self.client.clone()));
            match builder.create(&wanted, self.section.directory.clone(), None).await {
                Err(error) if nonces.may_retry(&error) => {}
                Err(error) => return Err(self.trouble(&error)),
                Ok((account, credentials)) => break (account.id().to_owned(), credentials),
            }
        };
        let (url, credentials) = credentials;
        let key = KeyPair::try_from(credentials.private_key()).map_err(storage)?.serialize_pem();
        Ok(store::Account { url, key })
    }

    /// Orders a certificate, in place of `replaced` if that is of this authority.
    pub(crate) async fn order(
        &self,
        account: &store::Account,
        replaced: Option<&Issued>,
    ) -> Result<Issued, Trouble> {
        let issued = timeout(ORDER_WITHIN, self.order_patiently(account, replaced)).await;
        issued.unwrap_or_else(|_| {
            let why = format!("the order took longer than {} s", ORDER_WITHIN.as_secs());
            Err(Trouble::new(Failure::Unreachable, why))
        })
    }

    /// Asks when `issued` is best renewed (RFC 9773).
    pub(crate) async fn ask(&self, account: &store::Account, issued: &Issued) -> Input {
        let Ok(id) = CertificateIdentifier::try_from(&issued.identity.certified().cert[0]) else {
            return Input::NoAdvice;
        };
        let Ok(account) = self.restore(account).await else { return Input::AskFailed };
        match account.renewal_info(&id).await {
            Ok((info, ask_after)) => {
                let window = info.suggested_window;
                let unix = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
                let (start, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
                Input::Advice { start: unix(start), end: unix(end), ask_after }
            }
            Err(Error::Unsupported(_)) => Input::NoAdvice,
            Err(_) => Input::AskFailed,
        }
    }

    async fn restore(&self, account: &store::Account) -> Result<Account, Trouble> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(account.key.as_bytes());
        let key = key.map_err(|_| storage("the account's key cannot be read"))?;
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let directory = self.section.directory.clone();
        let restored = builder.from_parts(account.url.clone(), key, directory).await;
        restored.map_err(|error| self.trouble(&error))
    }

    async fn order_patiently(
        &self,
        account: &store::Account,
        replaced: Option<&Issued>,
    ) -> Result<Issued, Trouble> {
        let account = self.restore(account).await?;
        let mut order = self.begin(&account, replaced).await?;
        let shown = self.show_proofs(&mut order).await?;
        self.wait(&mut order, OrderStatus::Ready).await?;
        drop(shown);
        let (key, request) = request(&self.section.domains).map_err(|error| {
            Trouble::new(Failure::Refused, format!("no request can be made: {error}"))
        })?;
        let mut nonces = Nonces::default();
        while let Err(error) = order.finalize_csr(&request).await {
            if !nonces.may_retry(&error) {
                return Err(self.trouble(&error));
            }
        }
        self.wait(&mut order, OrderStatus::Valid).await?;
        let chain = loop {
            match order.certificate().await {
                Ok(Some(chain)) => break chain,
                Ok(None) => {
                    let why = "the certificate is not there yet";
                    return Err(Trouble::new(Failure::Unreachable, why));
                }
                Err(error) if nonces.may_retry(&error) => {}
                Err(error) => return Err(self.trouble(&error)),
            }
        };
        self.checked(chain, key)
    }

    /// Places the order.
    async fn begin(&self, account: &Account, replaced: Option<&Issued>) -> Result<Order, Trouble> {
        let names: Vec<_> = self.section.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut replaced = replaced.and_then(|issued| {
            CertificateIdentifier::try_from(&issued.identity.certified().cert[0]).ok()
        });
        let mut nonces = Nonces::default();
        loop {
            let wanted = NewOrder::new(&names);
            let wanted = match &replaced {
                Some(id) => wanted.replaces(id.clone()),
                None => wanted,
            };
            match account.new_order(&wanted).await {
                Ok(order) => return Ok(order),
                Err(error) if nonces.may_retry(&error) => {}
                // RFC 9773, 5: what it replaces is a courtesy, and no reason to go without.
                Err(error) if replaced.is_some() && !is_problem(&error, "rateLimited") => {
                    replaced = None;
                }
                Err(error) => return Err(self.trouble(&error)),
            }
        }
    }

    /// Shows a proof for each name that the authority is not sure of, and tells it.
    async fn show_proofs(&self, order: &mut Order) -> Result<Vec<Shown>, Trouble> {
        let mut nonces = Nonces::default();
        // All are fetched first: they stay with the order, and what is fetched fails no more.
        'fetch: loop {
            let mut authorizations = order.authorizations();
            loop {
                match authorizations.next().await {
                    None => break 'fetch,
                    Some(Ok(_)) => {}
                    Some(Err(error)) if nonces.may_retry(&error) => continue 'fetch,
                    Some(Err(error)) => return Err(self.trouble(&error)),
                }
            }
        }
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.trouble(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => shown.push(self.prove(&mut authorization).await?),
                AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated => {
                    return Err(Trouble::new(Failure::Unproven, why_unproven(&authorization)));
                }
            }
        }
        Ok(shown)
    }

    async fn prove<'a>(
        &self,
        authorization: &'a mut AuthorizationHandle<'a>,
    ) -> Result<Shown, Trouble> {
        let name = authorization.identifier().to_string();
        let (kind, word) = match self.section.challenge {
            Challenge::Http01 => (ChallengeType::Http01, "http-01"),
            Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let Some(mut challenge) = authorization.challenge(kind) else {
            let why = format!("the authority offers no {word} for {name}");
            return Err(Trouble::new(Failure::Refused, why));
        };
        let key = challenge.key_authorization();
        let shown = match self.section.challenge {
            Challenge::Http01 => Shown::over_http(&self.front, &challenge.token, key.as_str()),
            Challenge::TlsAlpn01 => {
                let proof = proof::certificate(&name, key.digest().as_ref());
                let proof = proof.map_err(|why| Trouble::new(Failure::Refused, why))?;
                Shown::in_handshake(&self.front, &name, proof)
            }
        };
        let mut nonces = Nonces::default();
        while let Err(error) = challenge.set_ready().await {
            if !nonces.may_retry(&error) {
                return Err(self.trouble(&error));
            }
        }
        Ok(shown)
    }

    /// Waits until the order is in `wanted`, or beyond.
    async fn wait(&self, order: &mut Order, wanted: OrderStatus) -> Result<(), Trouble> {
        let (mut wait, mut nonces) = (POLL_MIN, Nonces::default());
        loop {
            match order.refresh().await.map(|state| state.status) {
                Ok(OrderStatus::Valid) => return Ok(()),
                Ok(status) if status == wanted => return Ok(()),
                Ok(OrderStatus::Invalid) => return Err(self.why_invalid(order).await),
                Ok(OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Ready) => {
                    let asked = self.client.retry_after().unwrap_or_default();
                    sleep(wait.max(asked.min(POLL_ASKED_MAX))).await;
                    wait = (wait * 2).min(POLL_MAX);
                }
                Err(error) if nonces.may_retry(&error) => {}
                Err(error) => return Err(self.trouble(&error)),
            }
        }
    }

    /// The authority's reasons, the most telling first: those of each name, then the order's.
    async fn why_invalid(&self, order: &mut Order) -> Trouble {
        let of_order = order.state().error.as_ref().map(words);
        let mut nonces = Nonces::default();
        let reasons = loop {
            match reasons_of_names(order).await {
                Ok(reasons) => break reasons,
                Err(error) if nonces.may_retry(&error) => {}
                Err(_) => break Vec::new(),
            }
        };
        match (reasons.is_empty(), of_order) {
            (false, _) => Trouble::new(Failure::Unproven, reasons.join("; ")),
            (true, Some(why)) => Trouble::new(Failure::Refused, why),
            (true, None) => Trouble::new(Failure::Refused, "the order became invalid"),
        }
    }

    /// What was downloaded, if it is what was ordered.
    fn checked(&self, chain: String, key: String) -> Result<Issued, Trouble> {
        let now = clock::unix_seconds();
        let unusable = |why: String| Trouble::new(Failure::Unusable, why);
        let issued = Issued::new(chain, key, self.section.domains.clone(), now);
        let issued = issued.map_err(unusable)?;
        let term = issued.term();
        if term.not_after <= now || term.not_before > now + CLOCK_SKEW_MAX {
            let why = "the certificate is not good now: is this machine's clock right?";
            return Err(unusable(why.to_owned()));
        }
        Ok(issued)
    }

    fn trouble(&self, error: &Error) -> Trouble {
        Trouble::of(error, self.client.retry_after())
    }
}

/// How often a nonce was refused.
#[derive(Default)]
struct Nonces {
    refused: u32,
}

impl Nonces {
    /// Whether to send the request again that met `error`.
    fn may_retry(&mut self, error: &Error) -> bool {
        self.refused += 1;
        is_problem(error, "badNonce") && self.refused < NONCE_TRIES_MAX
    }
}

/// Why names of an order could not be proven, each with the authority's reasons.
async fn reasons_of_names(order: &mut Order) -> Result<Vec<String>, Error> {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        authorization.refresh().await?;
        if authorization.status == AuthorizationStatus::Invalid {
            reasons.push(why_unproven(&authorization));
        }
    }
    Ok(reasons)
}

fn why_unproven(authorization: &AuthorizationHandle<'_>) -> String {
    let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
    let reasons: Vec<_> = errors.map(trouble::words).collect();
    let name = authorization.identifier();
    if reasons.is_empty() {
        format!("{name}: not proven")
    } else {
        format!("{name}: {}", reasons.join("; "))
    }
}

/// A fresh key, as PEM, and the request for a certificate (RFC 2986) for it, as DER.
fn request(names: &[String]) -> Result<(String, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

fn storage(why: impl ToString) -> Trouble {
    Trouble::new(Failure::Storage, why)
}
