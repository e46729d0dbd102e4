//! Files that were put into the binary when it was built (feature `embedded`).

use evergate_config::{Action, Config, Diagnostic, Loaded, Root};
use evergate_gateway::EmbeddedFile;

#[cfg(feature = "embedded")]
static FILES: &[EmbeddedFile] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
#[cfg(not(feature = "embedded"))]
static FILES: &[EmbeddedFile] = &[];

/// Lets the gateway serve them.
pub(crate) fn install() {
    evergate_gateway::embed(FILES);
}

/// `loaded`, if this binary has what it wants.
pub(crate) fn accepted(loaded: Loaded) -> Result<Loaded, Vec<Diagnostic>> {
    match refusals(&loaded.config) {
        refusals if refusals.is_empty() => Ok(loaded),
        refusals => Err(refusals),
    }
}

/// What `config` wants of them although there are none.
pub(crate) fn refusals(config: &Config) -> Vec<Diagnostic> {
    if !FILES.is_empty() {
        return Vec::new();
    }
    let routes = config.routes.iter().filter(
        |(_, route)| matches!(&route.action, Action::Static(files) if files.root == Root::Embedded),
    );
    let refusals = routes.map(|(name, route)| {
        let message = "unsupported: this binary was built without files in it";
        let (file, line) = route.origin.rsplit_once(':').unwrap_or((&route.origin, "0"));
        let mut refusal = Diagnostic::error("no-embedded-files", message)
            .in_file(file)
            .help("use a binary built with the feature `embedded`, or `root = \"FOLDER\"`");
        refusal.path = format!("route.{name}.static.embedded");
        refusal.line = line.parse().unwrap_or(0);
        refusal
    });
    refusals.collect()
}
