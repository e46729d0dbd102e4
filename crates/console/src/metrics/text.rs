//! The Prometheus text format 0.0.4 and OpenMetrics 1.0, which differ in few places: the name of a
//! family, info families, units, and the end mark.

use std::fmt::Write;

use evergate_control::snapshot::{Histogram, Stats};

use super::{Kind, Metric};

/// Upper bounds of the buckets, in seconds; the last one is infinity.
const BOUNDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// Two bounds closer than this share are the same, computed differently.
const BOUND_TOLERANCE: f64 = 1e-9;

/// How metrics are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Every metric that has samples.
pub(super) fn encode<'a>(
    metrics: impl IntoIterator<Item = &'a Metric>,
    stats: &Stats,
    format: Format,
) -> String {
    let mut text = String::new();
    for metric in metrics {
        let mut samples = Samples { text: &mut text, metric, format, headed: false };
        (metric.samples)(stats, &mut samples);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

/// A number as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// Takes the samples of one metric.
pub(super) struct Samples<'a> {
    text: &'a mut String,
    metric: &'a Metric,
    format: Format,
    headed: bool,
}

impl Samples<'_> {
    pub(super) fn put(&mut self, labels: &[(&str, &str)], value: impl Into<Number>) {
        self.line("", labels, None, value.into());
    }

    /// A bucket of the source counts for the first bound that it lies below as a whole.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut source = histogram.buckets.iter().peekable();
        let mut below = 0;
        for bound in BOUNDS {
            while let Some((_, count)) =
                source.next_if(|(upper, _)| *upper <= bound * (1.0 + BOUND_TOLERANCE))
            {
                below += count;
            }
            self.line("_bucket", labels, Some(&format!("{bound:?}")), below.into());
        }
        self.line("_bucket", labels, Some("+Inf"), histogram.count.into());
        self.line("_sum", labels, None, histogram.sum.as_secs_f64().into());
        self.line("_count", labels, None, histogram.count.into());
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: Number) {
        if !self.headed {
            self.head();
            self.headed = true;
        }
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut opened = false;
        for (name, value) in labels {
            self.text.push(if opened { ',' } else { '{' });
            opened = true;
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value);
            self.text.push('"');
        }
        if opened {
            self.text.push('}');
        }
        match value {
            Number::Whole(number) => writeln!(self.text, " {number}"),
            Number::Real(number) if number == f64::INFINITY => writeln!(self.text, " +Inf"),
            Number::Real(number) if number == f64::NEG_INFINITY => writeln!(self.text, " -Inf"),
            Number::Real(number) => writeln!(self.text, " {number}"),
        }
        .expect("a string takes every byte");
    }

    fn head(&mut self) {
        let Metric { name, kind, help, .. } = self.metric;
        let family = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            (Format::OpenMetrics, Kind::Info) => name.strip_suffix("_info").unwrap_or(name),
            (Format::OpenMetrics, Kind::Gauge | Kind::Histogram) | (Format::Text, _) => name,
        };
        let kind = match (self.format, kind) {
            (_, Kind::Counter) => "counter",
            (_, Kind::Gauge) | (Format::Text, Kind::Info) => "gauge",
            (_, Kind::Histogram) => "histogram",
            (Format::OpenMetrics, Kind::Info) => "info",
        };
        writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}")
            .expect("a string takes every byte");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(unit));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            writeln!(self.text, "# UNIT {family} {unit}").expect("a string takes every byte");
        }
    }
}

/// A label's value, escaped in the way that both formats share.
fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}
