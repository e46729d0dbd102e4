//! What the data plane does, compiled from a configuration and never changed afterwards.
//!
//! A reload makes a new plan; requests in flight keep the one they started on. Endpoints that stay
//! are the same objects in both, so their connections, load and verdicts go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use evergate_config::{self as config, Action, AllDown, Config, Target, ValueMatch};
use evergate_control::link::Run;
use evergate_core::head::Fields;
use evergate_core::http1;
use evergate_core::id::{PoolId, RouteId};
use evergate_core::route::Table;
use evergate_core::{balance, health, retry};
use ipnet::IpNet;

use crate::dial::Address;
use crate::endpoint::Endpoint;
use crate::files::{Compressor, Files};
use crate::filter::Filter;
use crate::resolve::Addresses;
use crate::tls::origination::{Meeting, Origination};
use crate::tls::termination::{Common, Termination};

/// A compiled configuration.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Counts the plans of this process.
    pub generation: u64,
    /// What we call ourselves in `Via`.
    pub node: String,
    /// Shape of the access log.
    pub access: config::AccessLog,
    /// Who matches what.
    pub table: Table,
    /// By [`RouteId`].
    pub routes: Vec<Route>,
    /// By [`PoolId`].
    pub pools: Vec<Arc<Pool>>,
    /// By name.
    pub listeners: BTreeMap<String, Arc<Listener>>,
    /// Of every route's files.
    pub compressor: Arc<Compressor>,
}

/// A compiled route.
#[derive(Debug)]
pub(crate) struct Route {
    /// Name in the configuration.
    pub name: String,
    /// Its match, as written.
    pub pattern: String,
    /// `file:line`.
    pub origin: String,
    /// Methods as written; empty is all.
    pub methods: Vec<String>,
    /// Listeners it serves; empty is all.
    pub listeners: Vec<String>,
    /// Conditions on header fields, all of which must hold.
    pub conditions: Vec<Condition>,
    /// Names of the middleware, for `explain`.
    pub middleware: Vec<String>,
    /// The middleware, in order.
    pub filters: Vec<Arc<Filter>>,
    /// For the whole of all attempts, up to the response head.
    pub timeout: Duration,
    /// How long a request or tunnel may go on once another process has taken over.
    pub drain_timeout: Duration,
    /// What it does.
    pub action: RouteAction,
    /// What the server gets to see as the path.
    pub rewrite: config::Rewrite,
}

/// What a route does.
#[derive(Debug)]
pub(crate) enum RouteAction {
    /// Forward to a server of this pool.
    Pool(PoolId),
    /// Answer with a file.
    Files(Arc<Files>),
    /// Answer without a server.
    Local(Action),
}

/// A condition on one header field.
#[derive(Debug)]
pub(crate) struct Condition {
    name: String,
    value: ConditionValue,
}

#[derive(Debug)]
enum ConditionValue {
    Exact(String),
    Regex(regex_lite::Regex),
}

/// A compiled pool.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Name in the configuration.
    pub name: String,
    /// How it chooses.
    pub balance: balance::Policy,
    /// What `hash` hashes.
    pub hash_key: config::Template,
    /// In order of name and generation; by [`evergate_core::id::EndpointId`]. An instance that is
    /// being replaced may be there twice.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How many servers of different names there are when all is well.
    pub expected: usize,
    /// Apps whose instances are its servers, with how many they are.
    pub apps: Vec<(String, u16)>,
    /// Configured weight of each endpoint.
    pub weights: Vec<u16>,
    /// For one connection attempt.
    pub connect_timeout: Duration,
    /// Idle connections kept per thread and endpoint.
    pub keepalive: usize,
    /// Whether connections begin with a PROXY header; each then serves one request.
    pub proxy_protocol: bool,
    /// Which failures are tried again.
    pub retry: retry::Policy,
    /// When failures eject.
    pub outlier: health::OutlierPolicy,
    /// What to do when no endpoint has a share.
    pub all_down: AllDown,
    /// How long an endpoint that comes back takes to get its whole share.
    pub slow_start: Duration,
    /// Active checks.
    pub checks: Vec<config::Check>,
    /// What is spoken with the servers.
    pub protocol: config::Protocol,
    /// How servers with an `https` URL are met; none if there are none.
    pub tls: Option<Arc<Origination>>,
    /// Grows with every change of a share, so that threads know when to look; the same in every
    /// plan, for requests in flight go by an earlier one.
    pub shares_changed: Arc<AtomicU64>,
}

/// A compiled listener.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Listener {
    /// Name in the configuration.
    pub name: String,
    /// HTTPS instead of HTTP.
    pub tls: Option<Arc<Termination>>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether HTTP/2 is spoken too.
    pub http2: bool,
    /// Bounds, as configured.
    pub limits: config::Limits,
    /// Bounds on heads.
    pub heads: http1::Limits,
}

/// Where the servers of a pool are right now: what the configuration names, instances of apps put
/// in place of the apps, each with its configured weight.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    /// Name in the pool.
    pub name: String,
    /// `host:port`, or `unix:PATH`.
    pub authority: String,
    /// Where it is, if that does not have to be looked up.
    pub address: Option<Address>,
    /// Weight.
    pub weight: u16,
    /// Which run of an app it is, if it is one.
    pub run: Option<Run>,
    /// The host of an `https` URL.
    pub tls_host: Option<String>,
}

impl Plan {
    /// Compiles `config`, taking over from `before` every endpoint that stays where it is.
    ///
    /// # Errors
    /// Says what cannot be compiled; a configuration that `evergate_config` accepted always can.
    pub(crate) fn compile(
        config: &Config,
        addresses: &Addresses,
        instances: &BTreeMap<String, Vec<Member>>,
        common: &Common,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let pool_names: Vec<&String> = config.pools.keys().collect();
        let filters: BTreeMap<&String, Arc<Filter>> = config
            .middleware
            .iter()
            .map(|(name, middleware)| (name, Arc::new(Filter::compile(middleware))))
            .collect();
        let compressor = before.map_or_else(Arc::default, |plan| Arc::clone(&plan.compressor));
        let mut routes = Vec::with_capacity(config.routes.len());
        for (name, route) in &config.routes {
            let earlier = before.and_then(|plan| plan.files(name));
            routes.push(compile_route(name, route, &pool_names, &filters, &compressor, earlier)?);
        }
        let table = Table::build(&config.route_specs())
            .map_err(|conflicts| format!("routes conflict: {conflicts:?}"))?;
        let pools = config
            .pools
            .iter()
            .map(|(name, pool)| {
                let earlier = before.and_then(|plan| plan.pool(name));
                compile_pool(config, name, pool, addresses, instances, earlier).map(Arc::new)
            })
            .collect::<Result<_, String>>()?;
        let listeners = config.listeners.iter().map(|(name, listener)| {
            let earlier = before.and_then(|plan| plan.listeners.get(name));
            let listener = compile_listener(name, listener, common, earlier)?;
            Ok((name.clone(), Arc::new(listener)))
        });
        Ok(Self {
            generation: before.map_or(1, |plan| plan.generation + 1),
            node: config.node.name.clone(),
            access: config.log.access,
            table,
            routes,
            pools,
            listeners: listeners.collect::<Result<_, String>>()?,
            compressor,
        })
    }

    /// The pool called `name`.
    pub(crate) fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// The files that the route called `name` serves.
    fn files(&self, name: &str) -> Option<&Arc<Files>> {
        let route = self.routes.iter().find(|route| route.name == name)?;
        match &route.action {
            RouteAction::Files(files) => Some(files),
            RouteAction::Pool(_) | RouteAction::Local(_) => None,
        }
    }

    /// The route with this id.
    pub(crate) fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }
}

impl Route {
    /// Whether a request with these fields on this listener meets the route's conditions.
    pub(crate) fn accepts(&self, fields: &Fields, listener: &str) -> bool {
        (self.listeners.is_empty() || self.listeners.iter().any(|name| name == listener))
            && self.conditions.iter().all(|condition| condition.holds(fields))
    }
}

impl Condition {
    fn holds(&self, fields: &Fields) -> bool {
        let Some(value) = fields.find(self.name.as_bytes()) else { return false };
        match &self.value {
            ConditionValue::Exact(text) => value == text.as_bytes(),
            ConditionValue::Regex(regex) => {
                std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
            }
        }
    }
}

impl Pool {
    /// Whether the endpoint with this uid belongs to it.
    pub(crate) fn holds(&self, uid: u64) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.uid == uid)
    }

    /// Whether it has a server of this name, or will when an instance is ready.
    pub(crate) fn has(&self, server: &str) -> bool {
        let instance = server.rsplit_once('/').and_then(|(app, number)| {
            let number: u16 = number.parse().ok()?;
            self.apps.iter().find(|(name, count)| name == app && number < *count)
        });
        instance.is_some() || self.endpoints.iter().any(|endpoint| endpoint.name == server)
    }

    /// How many servers of different names get requests.
    pub(crate) fn up(&self) -> usize {
        let up = self.endpoints.iter().filter(|endpoint| endpoint.share() > 0);
        up.map(|endpoint| &endpoint.name).collect::<BTreeSet<_>>().len()
    }

    /// Servers as members, in order of name and generation.
    fn members(pool: &config::Pool, instances: &BTreeMap<String, Vec<Member>>) -> Vec<Member> {
        let mut members = Vec::new();
        for (name, server) in &pool.servers {
            match &server.target {
                Target::Url { tls, host, port } => {
                    let authority = match host.contains(':') {
                        true => format!("[{host}]:{port}"),
                        false => format!("{host}:{port}"),
                    };
                    members.push(Member {
                        name: name.clone(),
                        authority,
                        address: None,
                        weight: server.weight,
                        run: None,
                        tls_host: tls.then(|| host.clone()),
                    });
                }
                Target::App(app) => {
                    let runs = instances.get(app).into_iter().flatten();
                    let weight = server.weight;
                    members.extend(runs.map(|run| Member { weight, ..run.clone() }));
                }
            }
        }
        members.sort_by(|a, b| (&a.name, &a.run).cmp(&(&b.name, &b.run)));
        members
    }
}

/// How many servers of different names `pool` has when all is well.
fn expected(config: &Config, pool: &config::Pool) -> usize {
    let counts = pool.servers.values().map(|server| match &server.target {
        Target::Url { .. } => 1,
        Target::App(app) => usize::from(instances_of(config, app)),
    });
    counts.sum()
}

fn instances_of(config: &Config, app: &str) -> u16 {
    config.apps.get(app).map_or(0, |app| app.instances)
}

fn compile_route(
    name: &str,
    route: &config::Route,
    pools: &[&String],
    filters: &BTreeMap<&String, Arc<Filter>>,
    compressor: &Arc<Compressor>,
    files: Option<&Arc<Files>>,
) -> Result<Route, String> {
    let action = match &route.action {
        Action::Pool(pool) => {
            let index = pools.iter().position(|name| *name == pool);
            let index = index.ok_or_else(|| format!("route.{name}: no pool `{pool}`"))?;
            RouteAction::Pool(PoolId(index as u32))
        }
        Action::Static(settings) => {
            let files = Files::compile(settings, compressor, files);
            RouteAction::Files(files.map_err(|error| format!("route.{name}: {error}"))?)
        }
        local @ (Action::Redirect { .. } | Action::Respond { .. } | Action::Health(_)) => {
            RouteAction::Local(local.clone())
        }
    };
    let used = route.middleware.iter().map(|middleware| {
        let filter = filters.get(middleware);
        filter.cloned().ok_or_else(|| format!("route.{name}: no middleware `{middleware}`"))
    });
    let conditions = route.headers.iter().map(|header| {
        let value = match &header.value {
            ValueMatch::Exact(text) => ConditionValue::Exact(text.clone()),
            ValueMatch::Regex(text) => ConditionValue::Regex(
                regex_lite::Regex::new(&format!("^(?:{text})$"))
                    .map_err(|error| format!("route.{name}: {error}"))?,
            ),
        };
        Ok(Condition { name: header.name.clone(), value })
    });
    Ok(Route {
        name: name.to_owned(),
        pattern: route.pattern.clone(),
        origin: route.origin.clone(),
        methods: route.methods.clone(),
        listeners: route.listeners.clone(),
        conditions: conditions.collect::<Result<_, String>>()?,
        middleware: route.middleware.clone(),
        filters: used.collect::<Result<_, String>>()?,
        timeout: route.timeout,
        drain_timeout: route.drain_timeout,
        action,
        rewrite: route.rewrite.clone(),
    })
}

fn compile_pool(
    config: &Config,
    name: &str,
    pool: &config::Pool,
    addresses: &Addresses,
    instances: &BTreeMap<String, Vec<Member>>,
    before: Option<&Arc<Pool>>,
) -> Result<Pool, String> {
    let mut endpoints = Vec::new();
    let mut weights = Vec::new();
    let members = Pool::members(pool, instances);
    let told = |error: String| format!("pool.{name}: {error}");
    let tls = match members.iter().any(|member| member.tls_host.is_some()) {
        true => {
            let earlier = before.and_then(|pool| pool.tls.as_ref());
            Some(Origination::compile(&pool.tls, pool.protocol, earlier).map_err(told)?)
        }
        false => None,
    };
    for member in members {
        let address = match member.address {
            Some(address) => Some(address),
            None => addresses.of(&member.authority).map(Address::Tcp),
        };
        let meeting = match (&tls, &member.tls_host) {
            (Some(tls), Some(host)) => Some(Meeting::new(tls, host).map_err(told)?),
            (_, None) | (None, _) => None,
        };
        let same = before.and_then(|pool| {
            pool.endpoints.iter().find(|endpoint| {
                endpoint.name == member.name
                    && endpoint.run == member.run
                    && !endpoint.is_leaving()
                    && endpoint.authority == member.authority
                    && endpoint.address == address
                    && endpoint.tls == meeting
            })
        });
        endpoints.push(match same {
            Some(endpoint) => Arc::clone(endpoint),
            None => {
                let endpoint = Endpoint::new(name, &member.name, &member.authority, address);
                Arc::new(endpoint.over(meeting).of(member.run))
            }
        });
        weights.push(member.weight);
    }
    let apps = pool.servers.values().filter_map(|server| match &server.target {
        Target::Url { .. } => None,
        Target::App(app) => Some((app.clone(), instances_of(config, app))),
    });
    Ok(Pool {
        name: name.to_owned(),
        balance: pool.balance,
        hash_key: pool.hash_key.clone(),
        endpoints,
        weights,
        expected: expected(config, pool),
        apps: apps.collect(),
        connect_timeout: pool.connect_timeout,
        keepalive: if pool.proxy_protocol { 0 } else { pool.keepalive as usize },
        proxy_protocol: pool.proxy_protocol,
        retry: pool.retry,
        outlier: pool.outlier,
        all_down: pool.all_down,
        slow_start: pool.slow_start,
        checks: pool.checks.clone(),
        protocol: pool.protocol,
        tls,
        shares_changed: before.map_or_else(Arc::default, |pool| Arc::clone(&pool.shares_changed)),
    })
}

fn compile_listener(
    name: &str,
    listener: &config::Listener,
    common: &Common,
    before: Option<&Arc<Listener>>,
) -> Result<Listener, String> {
    let earlier = before.and_then(|listener| listener.tls.as_ref());
    let tls = listener.tls.as_ref().map(|tls| {
        Termination::compile(tls, listener.http2, common, earlier)
            .map_err(|error| format!("listener.{name}: {error}"))
    });
    Ok(Listener {
        name: name.to_owned(),
        tls: tls.transpose()?,
        trusted_proxies: listener.trusted_proxies.clone(),
        proxy_protocol: listener.proxy_protocol,
        http2: listener.http2,
        limits: listener.limits,
        heads: http1::Limits {
            head_bytes_max: listener.limits.header as usize,
            fields_max: usize::from(listener.limits.headers),
            uri_bytes_max: listener.limits.uri as usize,
        },
    })
}
