//! Apps in the effective configuration.

use super::{HIDDEN, Line, list, named, path, table, text, time, word};
use crate::app::{KILLS, ON_FAILURE, PLACES, RESTARTS, SIGNALS, SOCKETS};
use crate::model::{
    Alive, AliveBy, App, AppLimits, Backoff, Deploy, MemoryWatch, Output, OutputTo, Ready, ReadyBy,
    Socket, Stop,
};
use crate::size;

/// `[app.NAME]`
pub(super) fn keys(app: &App) -> Vec<Line> {
    let App {
        run: _,
        instances,
        env: _,
        cwd,
        ports,
        user,
        umask,
        socket,
        after,
        ready,
        alive,
        restart,
        backoff,
        stop,
        limits,
        memory_watch,
        output,
        deploy,
        hidden: _,
    } = app;
    let shown = |word: Option<&str>| word.map_or_else(|| HIDDEN.to_owned(), text);
    let env = app.shown_env().map(|(name, value)| (name.to_owned(), shown(value)));
    let mut lines = vec![
        ("run", list(app.shown_run().map(shown))),
        ("instances", instances.to_string()),
        ("env", named(env)),
    ];
    lines.extend(cwd.iter().map(|cwd| ("cwd", path(cwd))));
    lines.extend(user.iter().map(|user| ("user", text(user))));
    lines.extend(umask.iter().map(|umask| ("umask", text(&format!("{umask:03o}")))));
    if *socket != Socket::Unix {
        lines.push(("ports", text(&format!("{}-{}", ports.start(), ports.end()))));
    }
    lines.push(("socket", word(&SOCKETS, *socket)));
    if !after.is_empty() {
        lines.push(("after", list(after.iter().map(|name| text(name)))));
    }
    lines.push(("ready", ready_table(ready)));
    lines.extend(alive.iter().map(|alive| ("alive", alive_table(alive))));
    lines.push(("restart", word(&RESTARTS, *restart)));
    lines.push(("backoff", backoff_table(backoff)));
    lines.push(("stop", stop_table(stop)));
    if *limits != AppLimits::default() {
        lines.push(("limits", limits_table(limits)));
    }
    lines.extend(memory_watch.iter().map(|watch| ("memory_watch", memory_watch_table(watch))));
    lines.push(("output", output_table(output)));
    lines.push(("deploy", deploy_table(deploy)));
    lines
}

fn ready_table(Ready { by, within, every, rise }: &Ready) -> String {
    let how = match by {
        ReadyBy::Http(path) => ("http", text(path)),
        ReadyBy::Tcp => ("by", text("tcp")),
        ReadyBy::Notify => ("by", text("notify")),
        ReadyBy::Nothing => ("by", text("none")),
    };
    let mut lines = vec![how, ("within", time(*within))];
    match by {
        ReadyBy::Http(_) | ReadyBy::Tcp => {
            lines.extend([("every", time(*every)), ("rise", rise.to_string())]);
        }
        ReadyBy::Notify | ReadyBy::Nothing => {}
    }
    table(&lines)
}

fn alive_table(Alive { by, every, timeout, fall, restart_after }: &Alive) -> String {
    let how = match by {
        AliveBy::Http(path) => ("http", text(path)),
        AliveBy::Tcp => ("by", text("tcp")),
    };
    let mut lines =
        vec![how, ("every", time(*every)), ("timeout", time(*timeout)), ("fall", fall.to_string())];
    lines.extend(restart_after.iter().map(|after| ("restart_after", time(*after))));
    table(&lines)
}

fn backoff_table(backoff: &Backoff) -> String {
    let Backoff { base, cap, failures, within, cooldown, stable_after } = backoff;
    table(&[
        ("base", time(*base)),
        ("cap", time(*cap)),
        ("failures", failures.to_string()),
        ("within", time(*within)),
        ("cooldown", time(*cooldown)),
        ("stable_after", time(*stable_after)),
    ])
}

fn stop_table(Stop { signal, timeout, kill, drain }: &Stop) -> String {
    table(&[
        ("signal", word(&SIGNALS, *signal)),
        ("timeout", time(*timeout)),
        ("kill", word(&KILLS, *kill)),
        ("drain", time(*drain)),
    ])
}

fn limits_table(AppLimits { memory, cpu_percent, files, tasks }: &AppLimits) -> String {
    let memory = memory.map(|bytes| ("memory", text(&size::show(bytes))));
    let cpu = cpu_percent.map(|percent| ("cpu", text(&format!("{percent}%"))));
    let files = files.map(|files| ("files", files.to_string()));
    let tasks = tasks.map(|tasks| ("tasks", tasks.to_string()));
    let lines: Vec<_> = [memory, cpu, files, tasks].into_iter().flatten().collect();
    table(&lines)
}

fn memory_watch_table(MemoryWatch { rss, over }: &MemoryWatch) -> String {
    table(&[("rss", text(&size::show(*rss))), ("for", time(*over))])
}

fn output_table(Output { to, max, keep }: &Output) -> String {
    let mut lines = vec![("to", word(&PLACES, *to))];
    if *to == OutputTo::Files {
        lines.extend([("max", text(&size::show(*max))), ("keep", keep.to_string())]);
    }
    table(&lines)
}

fn deploy_table(Deploy { surge, unavailable, canary_for, on_failure }: &Deploy) -> String {
    table(&[
        ("surge", surge.to_string()),
        ("unavailable", unavailable.to_string()),
        ("canary_for", time(*canary_for)),
        ("on_failure", word(&ON_FAILURE, *on_failure)),
    ])
}
