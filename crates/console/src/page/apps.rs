//! Apps on the page: a card for each, with its deploy above its instances.

use std::fmt;

use evergate_control::snapshot::{DeployStatus, InstanceStatus, Status};

use super::{Text, class};
use crate::{when, words};

/// A card for each app.
pub(super) fn show(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    for runs in status.apps.chunk_by(|one, next| one.app == next.app) {
        let app = &runs[0].app;
        head(f, runs)?;
        f.write_str("<div class=\"card\">")?;
        if let Some(last) = status.deploys.iter().find(|deploy| deploy.app == *app) {
            deploy(f, last)?;
        }
        instances(f, runs)?;
        for (_, line) in words::unsupported(&status.app_limits).filter(|(of, _)| of == app) {
            write!(f, "<p class=\"note warn\">{}</p>", Text(line))?;
        }
        f.write_str("</div>\n")?;
    }
    Ok(())
}

fn head(f: &mut fmt::Formatter<'_>, runs: &[InstanceStatus]) -> fmt::Result {
    // An instance that is being replaced has two runs.
    let instances = runs.chunk_by(|one, next| one.number == next.number);
    let (mut all, mut ready) = (0, 0);
    for runs in instances {
        all += 1;
        ready += u32::from(runs.iter().any(|run| run.state == "ready"));
    }
    let class = match ready {
        0 if runs.iter().all(|run| run.state == "stopped") => "dim",
        0 => "bad",
        _ if ready < all => "warn",
        _ => "good",
    };
    writeln!(
        f,
        "<h2>App <small><b>{}</b> · <span class=\"pill {class}\">{ready} of {all} ready</span>\
         </small></h2>",
        Text(&runs[0].app)
    )
}

fn deploy(f: &mut fmt::Formatter<'_>, deploy: &DeployStatus) -> fmt::Result {
    let DeployStatus { phase, done, of, message, since_seconds, .. } = deploy;
    let ago = when::span(*since_seconds as u64);
    let (class, since) = match phase.as_str() {
        "done" => ("good", format!("{ago} ago")),
        "failed" => ("bad", format!("{ago} ago")),
        _ => ("going", format!("for {ago}")),
    };
    write!(
        f,
        "<div class=\"deploy {class}\"><p><b>{}</b> <span class=\"pill {class}\">{}\
         </span> <span class=\"dim\">{done} of {of} · {since}</span></p>",
        Text(words::name(deploy)),
        Text(phase),
    )?;
    if phase != "done" {
        let percent = 100 * u32::from(*done) / u32::from(*of).max(1);
        write!(
            f,
            "<div class=\"bar\" role=\"progressbar\" aria-label=\"instances replaced\" \
             aria-valuemin=\"0\" aria-valuemax=\"{of}\" aria-valuenow=\"{done}\">\
             <i style=\"width:{percent}%\"></i></div><p class=\"pre\">{}</p>",
            Text(message),
        )?;
    }
    f.write_str("</div>")
}

fn instances(f: &mut fmt::Formatter<'_>, runs: &[InstanceStatus]) -> fmt::Result {
    f.write_str(
        "<table><tr><th>instance</th><th>state</th><th>why</th><th class=\"n\">memory</th>\
         <th class=\"n\">CPU</th><th class=\"n\">in flight</th><th class=\"n\">starts</th>\
         <th class=\"n\">exits</th><th>last exit</th></tr>\n",
    )?;
    for run in runs {
        instance(f, run)?;
    }
    f.write_str("</table>")
}

fn instance(f: &mut fmt::Formatter<'_>, run: &InstanceStatus) -> fmt::Result {
    let failures = words::failures(run);
    let failures = if failures.is_empty() {
        failures
    } else {
        format!(" <span class=\"warn\">({failures})</span>")
    };
    let pid = run.pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
    writeln!(
        f,
        "<tr><td class=\"k\">{}/{} <span class=\"dim mono\">{} {pid}</span></td>\
         <td class=\"s\"><span class=\"pill {}\">{}</span> <span class=\"dim\">{}</span></td>\
         <td>{}</td>\
         <td class=\"n\" data-l=\"memory\">{}</td><td class=\"n\" data-l=\"CPU\">{}</td>\
         <td class=\"n\" data-l=\"in flight\">{}</td><td class=\"n\" data-l=\"starts\">{}</td>\
         <td class=\"n\" data-l=\"exits\">{}{failures}</td><td data-l=\"last exit\">{}</td></tr>",
        Text(&run.app),
        run.number,
        Text(run.address.as_deref().unwrap_or_default()),
        class(&run.state),
        Text(&run.state),
        when::span(run.since_seconds as u64),
        Text(words::why(run)),
        words::memory(run),
        run.cpu_seconds.map(words::cpu).unwrap_or_default(),
        run.in_flight,
        run.generation,
        run.exits,
        Text(run.last_exit.as_deref().unwrap_or_default()),
    )
}
