//! `evergate explain`: what would happen to a request, and why.

use std::process::ExitCode;

use evergate_control::snapshot::Explanation;

use super::Node;
use super::client::{Failure, percent};
use super::screen::{Paint, Palette, show, show_json};
use super::table::{Table, plain};

/// How to ask.
const HELP: &str = "write it as `evergate explain GET http://shop.example/v1 -H 'name: value'`";

/// Tells what would happen to a request, without sending it: route, middleware, server, and why.
#[derive(clap::Args)]
pub(crate) struct Explain {
    /// Method, such as GET.
    method: String,
    /// Scheme, host and path, such as `http://shop.example/v1/orders`.
    url: String,
    /// Header field, as often as wanted.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// As if it came from this address [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    client: Option<std::net::IpAddr>,
    #[command(flatten)]
    node: Node,
}

impl Explain {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.node.client()?.get(&self.target());
        let explanation: Explanation = answer.map_err(in_words_of_the_command)?;
        if self.node.json {
            show_json(&explanation)?;
        } else {
            show(&render(&explanation, Palette::of_stdout()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn target(&self) -> String {
        let (method, url) = (percent(&self.method), percent(&self.url));
        let mut target = format!("/api/v1/explain?method={method}&url={url}");
        for header in &self.headers {
            target.push_str(&format!("&header={}", percent(header)));
        }
        if let Some(client) = self.client {
            target.push_str(&format!("&client={}", percent(&client.to_string())));
        }
        target
    }
}

/// The node's help is about its API.
fn in_words_of_the_command(failure: Failure) -> Failure {
    match failure {
        Failure::Refused { message, help } if help.contains("?method=") => {
            Failure::Refused { message, help: HELP.to_owned() }
        }
        other => other,
    }
}

fn render(explanation: &Explanation, palette: Palette) -> String {
    let mut facts = Vec::new();
    let mut fact = |name: &'static str, text: &str| facts.push((name, text.to_owned()));
    fact("request", &explanation.request);
    match &explanation.route {
        Some(route) => fact("route", route),
        None => fact("route", "none"),
    }
    let optional = [("match", &explanation.pattern), ("at", &explanation.origin)];
    for (name, text) in optional {
        if let Some(text) = text {
            fact(name, text);
        }
    }
    for (name, value) in &explanation.params {
        fact("parameter", &format!("{name} = {value}"));
    }
    for line in &explanation.because {
        fact("because", line);
    }
    for (name, verdict) in &explanation.middleware {
        fact("middleware", &format!("{name}: {verdict}"));
    }
    fact("action", &explanation.action);
    if let Some(status) = explanation.status {
        fact("answer", &format!("{status}, by Evergate itself"));
    }
    if let Some(path) = &explanation.upstream_path {
        fact("sends", path);
    }
    if let Some(pool) = &explanation.pool {
        fact("pool", &format!("{pool} ({})", explanation.balance.as_deref().unwrap_or_default()));
    }
    let mut text = String::new();
    let mut last = "";
    for (name, value) in facts {
        // A name that repeats is written once.
        let shown = if name == last { "" } else { name };
        last = name;
        let name = palette.paint(Paint::Dim, &format!("{shown:<10}"));
        text.push_str(&format!("{name}  {}\n", palette.paint(Paint::Normal, &value)));
    }
    text.push_str(&candidates(explanation).render(palette));
    text
}

fn candidates(explanation: &Explanation) -> Table {
    let heads = ["server", "address", "may be picked", ">weight", ">in flight", "why"];
    let mut table = Table::new("  ", &heads);
    for candidate in &explanation.candidates {
        let verdict = if candidate.eligible { (Paint::Good, "yes") } else { (Paint::Bad, "no") };
        table.row([
            plain(&candidate.name),
            plain(&candidate.address),
            (verdict.0, verdict.1.to_owned()),
            plain(candidate.weight),
            plain(candidate.in_flight),
            (Paint::Dim, candidate.reason.clone()),
        ]);
    }
    table
}
