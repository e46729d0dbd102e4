//! The task of one `[acme.NAME]`: does what [`Renewal`] wants, and tells what came of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evergate_config::Acme;
use evergate_core::renewal::{Cause, Failure, Input, Now, Output, Past, Policy, Renewal, Standing};
use evergate_core::rng::Rng;
use evergate_sys::{clock, random};
use tokio::sync::{RwLock, mpsc};
use tokio::task::spawn_blocking;

use crate::order::Clerk;
use crate::store::{Account, Issued, Loaded, Store, StoreError};
use crate::trouble::Trouble;
use crate::{Front, News, State, What};

pub(crate) struct Agent {
    name: String,
    section: Acme,
    clerk: Clerk,
    store: Store,
    front: Arc<dyn Front>,
    renewal: Renewal,
    account: Option<Account>,
    /// What is served.
    issued: Option<Issued>,
    /// Whether what is served could not be stored yet.
    is_unsaved: bool,
    orders: Vec<u64>,
    failure: Option<String>,
    news: mpsc::Sender<News>,
    /// Tells the news of one agent from those of another with the same name.
    number: u64,
    /// Held for reading while something is written.
    writing: Arc<RwLock<()>>,
}

/// What is needed to start one.
pub(crate) struct Brief<'a> {
    pub(crate) name: &'a str,
    pub(crate) section: &'a Acme,
    pub(crate) root: &'a Path,
    pub(crate) front: &'a Arc<dyn Front>,
    pub(crate) news: &'a mpsc::Sender<News>,
    pub(crate) number: u64,
    pub(crate) writing: &'a Arc<RwLock<()>>,
}

impl Agent {
    /// Reads what is stored and serves the certificate, if there is one. Also returns what is wrong
    /// with what is stored.
    pub(crate) async fn prepare(brief: Brief<'_>) -> (Self, Vec<String>) {
        let Brief { name, section, root, front, news, number, writing } = brief;
        let store = Store::new(root, name, &section.directory);
        let reader = store.clone();
        let loaded = spawn_blocking(move || reader.load()).await;
        let Loaded { account, certificate, is_certificate_damaged, history, damage } =
            loaded.unwrap_or_default();
        let lack = match &certificate {
            _ if is_certificate_damaged => Some(Cause::Damaged),
            Some(issued) if !issued.is_for(&section.domains) => Some(Cause::OtherNames),
            Some(_) => None,
            None => Some(Cause::Missing),
        };
        if let Some(issued) = &certificate {
            front.serve(name, issued.identity.clone());
        }
        let past = Past {
            held: certificate.as_ref().map(Issued::term),
            lack,
            orders: history.orders.clone(),
            silent_until: history.silent_until,
        };
        let policy = Policy { renew_before: section.renew_before };
        let agent = Self {
            name: name.to_owned(),
            section: section.clone(),
            clerk: Clerk::new(section.clone(), Arc::clone(front)),
            store,
            front: Arc::clone(front),
            renewal: Renewal::new(policy, past, now(), Rng::seeded(random::seed())),
            account,
            issued: certificate,
            is_unsaved: false,
            orders: history.orders,
            failure: None,
            news: news.clone(),
            number,
            writing: Arc::clone(writing),
        };
        (agent, damage)
    }

    /// Works until it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            self.renewal.handle(now(), Input::Tick);
            while let Some(output) = self.renewal.next_output() {
                if let Some(input) = self.perform(output).await {
                    self.follow(input).await;
                }
            }
            let wait = self.renewal.deadline().map(|at| at.since(clock::now()));
            tokio::time::sleep(wait.unwrap_or(Duration::MAX)).await;
        }
    }

    /// How it stands.
    pub(crate) fn state(&self) -> State {
        let now = now();
        let particulars = self.issued.as_ref().map(|issued| issued.identity.particulars());
        State {
            names: particulars.map_or(self.section.domains.clone(), |one| one.names.clone()),
            issuer: particulars.map(|one| one.issuer.clone()).unwrap_or_default(),
            not_after: particulars.map_or(0, |one| one.not_after),
            warn_from: particulars.map_or(0, |one| one.warn_from()),
            renew_at: self.renewal.next_order(now),
            failure: self.failure.clone(),
            is_late: self.renewal.standing(now.unix) != Standing::Good,
        }
    }

    async fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Planned(at) => {
                self.tell(What::Planned { at }).await;
                None
            }
            Output::Postponed(until) => {
                self.tell(What::Postponed { until }).await;
                None
            }
            Output::Ask => Some(match (&self.account, &self.issued) {
                (Some(account), Some(issued)) => self.clerk.ask(account, issued).await,
                (None, _) | (_, None) => Input::AskFailed,
            }),
            Output::Order(cause) => Some(match self.order(cause).await {
                Ok(input) => input,
                Err(Trouble { kind, why, retry_after, .. }) => {
                    self.failure = Some(format!("{}: {why}", kind.as_str()));
                    Input::Failed { kind, retry_after }
                }
            }),
        }
    }

    /// Lets the decisions follow from what happened, and tells it.
    async fn follow(&mut self, input: Input) {
        self.renewal.handle(now(), input);
        match input {
            Input::Issued(term) => {
                self.failure = None;
                self.tell(What::Issued { not_after: term.not_after }).await;
            }
            Input::Failed { kind, .. } => {
                // It may be the disk that fails; the next process is then only less careful.
                let _ = self.save_history().await;
                let retry_at = self.renewal.next_order(now()).unwrap_or_default();
                let why = self.failure.clone().unwrap_or_default();
                let not_after = self.issued.as_ref().map(|issued| issued.term().not_after);
                self.tell(What::Failed { kind, why, retry_at, not_after }).await;
            }
            Input::Tick | Input::Advice { .. } | Input::NoAdvice | Input::AskFailed => {}
        }
    }

    async fn order(&mut self, cause: Cause) -> Result<Input, Trouble> {
        if let Some(issued) = self.issued.clone().filter(|_| self.is_unsaved) {
            return self.keep(issued).await;
        }
        self.orders.push(clock::unix_seconds());
        let old = self.orders.len().saturating_sub(evergate_core::renewal::ORDERS_MAX);
        self.orders.drain(..old);
        // Before anything is asked for: an order whose outcome cannot be stored had better not be.
        self.save_history().await?;
        self.tell(What::Ordered { cause }).await;
        let replaced = match cause {
            Cause::Due | Cause::Advised => self.issued.clone(),
            Cause::Missing | Cause::OtherNames | Cause::Damaged => None,
        };
        let account = self.account().await?;
        let issued = match self.clerk.order(&account, replaced.as_ref()).await {
            Err(trouble) if trouble.is_unknown_account => {
                // The authority has forgotten it: a staging authority that was set up anew.
                self.account = None;
                let account = self.account().await?;
                self.clerk.order(&account, replaced.as_ref()).await?
            }
            other => other?,
        };
        self.keep(issued).await
    }

    /// Serves the certificate from now on, and stores it.
    async fn keep(&mut self, issued: Issued) -> Result<Input, Trouble> {
        self.front.serve(&self.name, issued.identity.clone());
        self.issued = Some(issued.clone());
        self.is_unsaved = true;
        let term = issued.term();
        self.write(move |store| store.save_certificate(&issued)).await?;
        self.is_unsaved = false;
        Ok(Input::Issued(term))
    }

    /// The account, which is opened if there is none yet.
    async fn account(&mut self) -> Result<Account, Trouble> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let account = self.clerk.open_account().await?;
        let copy = account.clone();
        self.account = Some(account.clone());
        self.write(move |store| store.save_account(&copy)).await?;
        Ok(account)
    }

    async fn save_history(&self) -> Result<(), Trouble> {
        let history = crate::store::History {
            orders: self.orders.clone(),
            silent_until: self.renewal.silent_until(now()).unwrap_or(0),
        };
        self.write(move |store| store.save_history(&history)).await
    }

    /// Writes beside the control plane, for a disk may take long.
    async fn write(
        &self,
        write: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), Trouble> {
        let store = self.store.clone();
        let writing = Arc::clone(&self.writing).read_owned().await;
        // It goes on when this agent is given up.
        let task = move || {
            let outcome = write(&store);
            drop(writing);
            outcome
        };
        match spawn_blocking(task).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Trouble::new(Failure::Storage, error)),
            Err(error) => Err(Trouble::new(Failure::Storage, error)),
        }
    }

    async fn tell(&self, what: What) {
        let news =
            News { section: self.name.clone(), what, state: self.state(), number: self.number };
        // Nobody listens only when all ends.
        let _ = self.news.send(news).await;
    }
}

fn now() -> Now {
    Now { at: clock::now(), unix: clock::unix_seconds() }
}
