//! A picture of runs: requests served over time, by node, one strip for each contender.

use std::fmt::Write;
use std::time::Duration;

use super::run::Figures;
use super::trace::{Outcome, Request};
use super::{Contender, Moment};

const WIDTH: f64 = 900.0;
const STRIP: f64 = 84.0;
const LEFT: f64 = 150.0;
const TOP: f64 = 56.0;
const RIGHT: f64 = 20.0;
/// Time before the fault that is shown.
const BEFORE: Duration = Duration::from_millis(100);
/// Columns over the whole width.
const COLUMNS: usize = 365;
/// Colours of the nodes A, B and C, and of failures.
const COLOURS: [(&str, char); 3] = [("#2563eb", 'A'), ("#f59e0b", 'B'), ("#10b981", 'C')];
const FAILED: &str = "#dc2626";

/// One column of a strip.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    good: [usize; 3],
    failed: usize,
}

/// A picture of one run of each contender: `span` from just before the fault.
pub fn plot(title: &str, runs: &[&Figures], span: Duration) -> String {
    let height = TOP + STRIP * runs.len() as f64 + 44.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\" font-weight=\"600\" fill=\"#111827\">{}</text>\n",
        escape(title)
    );
    legend(&mut svg);
    for (index, run) in runs.iter().enumerate() {
        strip(&mut svg, run, TOP + STRIP * index as f64, span);
    }
    axis(&mut svg, TOP + STRIP * runs.len() as f64, span);
    svg += "</svg>\n";
    svg
}

fn legend(svg: &mut String) {
    let entries = COLOURS.iter().take(2).map(|(colour, node)| (*colour, format!("node {node}")));
    for (index, (colour, label)) in entries.chain([(FAILED, "failed".to_owned())]).enumerate() {
        let x = LEFT + 80.0 * index as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"36\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"45\" fill=\"#374151\">{label}</text>",
            x + 15.0
        );
    }
}

fn strip(svg: &mut String, run: &Figures, top: f64, span: Duration) {
    let name = match run.contender {
        Contender::Evergate => "Evergate".to_owned(),
        Contender::Keepalived(profile) => format!("keepalived {}", profile.name),
    };
    let (bottom, usable) = (top + STRIP - 14.0, STRIP - 26.0);
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"{}\" fill=\"#111827\" font-weight=\"600\">{name}</text>\
         <text x=\"16\" y=\"{}\" fill=\"#6b7280\">{} failed</text>",
        top + 34.0,
        top + 50.0,
        run.failed
    );
    let columns = columns(run, span);
    let most = columns.iter().map(|one| one.good.iter().sum::<usize>() + one.failed).max();
    let scale = usable / most.unwrap_or(1).max(1) as f64;
    let width = (WIDTH - LEFT - RIGHT) / COLUMNS as f64;
    for (index, column) in columns.iter().enumerate() {
        let x = LEFT + width * index as f64;
        let mut y = bottom;
        let parts = COLOURS.iter().zip(column.good).map(|((colour, _), count)| (*colour, count));
        for (colour, count) in parts.chain([(FAILED, column.failed)]) {
            if count > 0 {
                let tall = count as f64 * scale;
                y -= tall;
                let _ = write!(
                    svg,
                    "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{tall:.2}\" \
                     fill=\"{colour}\"/>",
                    width * 1.02
                );
            }
        }
    }
    let event = LEFT + (WIDTH - LEFT - RIGHT) * BEFORE.as_secs_f64() / span.as_secs_f64();
    let _ = write!(
        svg,
        "\n<line x1=\"{event:.1}\" x2=\"{event:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\" \
         stroke=\"#111827\" stroke-dasharray=\"3 3\"/>\
         <line x1=\"{LEFT}\" x2=\"{}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\" stroke=\"#9ca3af\"/>\n",
        top + 4.0,
        WIDTH - RIGHT
    );
}

fn axis(svg: &mut String, top: f64, span: Duration) {
    let step = tick(span);
    let mut at = Duration::ZERO;
    while at + BEFORE <= span {
        let share = (at + BEFORE).as_secs_f64() / span.as_secs_f64();
        let x = LEFT + (WIDTH - LEFT - RIGHT) * share;
        let label = if step >= Duration::from_secs(1) {
            format!("{} s", at.as_secs())
        } else {
            format!("{} ms", at.as_millis())
        };
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#6b7280\">{label}</text>",
            top + 8.0
        );
        at += step;
    }
    let _ = writeln!(
        svg,
        "\n<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#6b7280\">requests by the time they were sent; the \
         dashed line is the fault</text>",
        top + 30.0
    );
}

/// A round distance between labels, so that there are about ten.
fn tick(span: Duration) -> Duration {
    let steps = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
    let fits = |ms: &&u64| span.as_millis() <= u128::from(**ms) * 10;
    Duration::from_millis(*steps.iter().find(fits).unwrap_or(&20_000))
}

fn columns(run: &Figures, span: Duration) -> Vec<Column> {
    let mut columns = vec![Column::default(); COLUMNS];
    let Some(event) = run.event else { return columns };
    let first = Moment(event.0.saturating_sub(BEFORE.as_nanos() as u64));
    for request in run.trace.fresh.iter().filter(|request| request.start >= first) {
        let share = request.start.since(first).as_secs_f64() / span.as_secs_f64();
        let Some(column) = columns.get_mut((share * COLUMNS as f64) as usize) else { continue };
        count(column, request);
    }
    columns
}

fn count(column: &mut Column, request: &Request) {
    match request.outcome {
        Outcome::Good(node) => {
            let index = COLOURS.iter().position(|(_, letter)| *letter == node);
            column.good[index.unwrap_or(0)] += 1;
        }
        Outcome::Failed(_) => column.failed += 1,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_at_round_times() {
        assert_eq!(tick(Duration::from_millis(600)), Duration::from_millis(100));
        assert_eq!(tick(Duration::from_secs(6)), Duration::from_secs(1));
    }
}
