//! The `static` action: files from a folder, or from the binary.
//!
//! What a path stands for, what of it goes out and in which form is decided in
//! [`evergate_core::files`]; here files are opened ([`opened`]), found ([`lookup`]), answered
//! ([`respond`]) and sent ([`body`]). As in other web servers, a file that is not in memory makes
//! its data-plane thread wait for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use evergate_config::{Root, Static, Symlinks};
use evergate_core::files::{Dotfiles, Pattern};
use evergate_sys::clock;
use evergate_sys::folder::{Folder, Links};

mod body;
mod compressor;
mod embedded;
mod explain;
mod lookup;
mod opened;
mod respond;

pub(crate) use compressor::Compressor;
pub use embedded::{EmbeddedFile, embed};
pub(crate) use explain::explain;
pub(crate) use opened::OpenFiles;
pub(crate) use respond::serve;

/// How long after one report of a file that may not be read the next one comes, in seconds.
const DENIED_EVERY: u64 = 60;

/// A compiled `static` action.
#[derive(Debug)]
pub(crate) struct Files {
    /// As configured.
    settings: Static,
    /// Tells its files from those of others in the threads' caches; never used again.
    id: u64,
    /// The longest pattern first.
    cache_control: Vec<(Pattern, Arc<str>)>,
    compressor: Arc<Compressor>,
    /// When an operator was last told of a file that may not be read, in seconds.
    denied_at: AtomicU64,
}

impl Files {
    /// Compiles `settings`; what has not changed is taken over from `before`.
    ///
    /// # Errors
    /// If files of the binary are wanted and it has none.
    pub(crate) fn compile(
        settings: &Static,
        compressor: &Arc<Compressor>,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        if let Some(before) = before.filter(|before| before.settings == *settings) {
            return Ok(Arc::clone(before));
        }
        if settings.root == Root::Embedded && !embedded::are_there() {
            return Err("unsupported: this binary was built without files in it".to_owned());
        }
        let mut patterns = settings.cache_control.clone();
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
        let patterns = patterns.into_iter();
        Ok(Arc::new(Self {
            settings: settings.clone(),
            id: IDS.fetch_add(1, Relaxed),
            cache_control: patterns
                .map(|(pattern, value)| (Pattern::new(&pattern), Arc::from(value)))
                .collect(),
            compressor: Arc::clone(compressor),
            denied_at: AtomicU64::new(0),
        }))
    }

    /// Where the files are, in words.
    pub(crate) fn place(&self) -> String {
        match &self.settings.root {
            Root::Folder(path) => path.display().to_string(),
            Root::Embedded => "the binary".to_owned(),
        }
    }

    /// Why nothing can be served at all, if that is so.
    pub(crate) fn fault(&self) -> Option<String> {
        match &self.settings.root {
            Root::Folder(path) => {
                let error = Folder::open(path).err()?;
                Some(format!("cannot open {}: {error}", path.display()))
            }
            Root::Embedded => None,
        }
    }

    fn dotfiles(&self) -> Dotfiles {
        if self.settings.dotfiles { Dotfiles::Shown } else { Dotfiles::Hidden }
    }

    fn links(&self) -> Links {
        match self.settings.symlinks {
            Symlinks::Never => Links::Never,
            Symlinks::Within => Links::Within,
            Symlinks::Anywhere => Links::Anywhere,
        }
    }

    /// `Cache-Control` of the file called `name`.
    fn cache_control(&self, name: &[u8]) -> Option<Arc<str>> {
        let mut patterns = self.cache_control.iter();
        patterns.find(|(pattern, _)| pattern.fits(name)).map(|(_, value)| Arc::clone(value))
    }

    /// Whether an operator should be told now of a file that may not be read.
    fn tells_denied(&self) -> bool {
        let now = clock::unix_seconds();
        let told = self.denied_at.load(Relaxed);
        let is_due = told == 0 || now.abs_diff(told) >= DENIED_EVERY;
        is_due && self.denied_at.compare_exchange(told, now, Relaxed, Relaxed).is_ok()
    }
}
