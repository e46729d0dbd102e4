//! A picture of runs: requests served over time, by node, one strip for each contender.

use std::fmt::Write;
use std::time::Duration;

use super::probe::open_loop::EVERY;
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
/// Most columns over the whole width.
const COLUMNS_MAX: usize = 350;
/// Most that is shown.
const SPAN_MAX: Duration = Duration::from_secs(7);
/// Colours of the nodes A, B and C, and of failures.
const COLOURS: [(&str, char); 3] = [("#2563eb", 'A'), ("#f59e0b", 'B'), ("#10b981", 'C')];
const FAILED: &str = "#dc2626";

/// One column of a strip.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    good: [usize; 3],
    failed: usize,
}

/// The time that is shown, in columns of equal length.
#[derive(Clone, Copy, Debug)]
struct Axis {
    columns: usize,
    column: Duration,
}

impl Axis {
    /// From just before the fault until the longest of `runs` has ended. A column takes whole rounds
    /// of the probe, so that all are equally tall when all is well.
    fn of(runs: &[&Figures]) -> Self {
        let end = |run: &&Figures| Some(run.trace.fresh.last()?.start.since(run.event?));
        let longest = runs.iter().filter_map(end).max().unwrap_or(SPAN_MAX);
        let span = BEFORE + longest.min(SPAN_MAX);
        let rounds = span.as_millis().div_ceil(EVERY.as_millis() * COLUMNS_MAX as u128);
        let column = EVERY * u32::try_from(rounds).unwrap_or(1).max(1);
        let columns = (span.as_nanos() / column.as_nanos()) as usize;
        Self { columns: columns.max(1), column }
    }

    fn span(&self) -> Duration {
        self.column * u32::try_from(self.columns).unwrap_or(u32::MAX)
    }
}

/// A picture of one run of each contender, from just before the fault.
pub fn plot(title: &str, runs: &[&Figures]) -> String {
    let axis = Axis::of(runs);
    let span = axis.span();
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
        strip(&mut svg, run, TOP + STRIP * index as f64, axis);
    }
    labels(&mut svg, TOP + STRIP * runs.len() as f64, span);
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

fn strip(svg: &mut String, run: &Figures, top: f64, axis: Axis) {
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
    let columns = columns(run, axis);
    // What is due in a column; one more may fall into it by a hair's breadth.
    let due = (axis.column.as_nanos() / EVERY.as_nanos()) as usize;
    let width = (WIDTH - LEFT - RIGHT) / axis.columns as f64;
    for (index, column) in columns.iter().enumerate() {
        let x = LEFT + width * index as f64;
        let mut y = bottom;
        let all = column.good.iter().sum::<usize>() + column.failed;
        let scale = usable / due.max(all) as f64;
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
    let event = LEFT + (WIDTH - LEFT - RIGHT) * BEFORE.as_secs_f64() / axis.span().as_secs_f64();
    let _ = write!(
        svg,
        "\n<line x1=\"{event:.1}\" x2=\"{event:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\" \
         stroke=\"#111827\" stroke-dasharray=\"3 3\"/>\
         <line x1=\"{LEFT}\" x2=\"{}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\" stroke=\"#9ca3af\"/>\n",
        top + 4.0,
        WIDTH - RIGHT
    );
}

fn labels(svg: &mut String, top: f64, span: Duration) {
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

fn columns(run: &Figures, axis: Axis) -> Vec<Column> {
    let mut columns = vec![Column::default(); axis.columns];
    let Some(event) = run.event else { return columns };
    let first = Moment(event.0.saturating_sub(BEFORE.as_nanos() as u64));
    for request in run.trace.fresh.iter().filter(|request| request.start >= first) {
        let index = request.start.since(first).as_nanos() / axis.column.as_nanos();
        let Some(column) = columns.get_mut(index as usize) else { continue };
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
