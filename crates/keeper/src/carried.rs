//! What the keeper knows, on its way into its next image: sections of a blob
//! ([`evergate_core::state`]) and the descriptors beside it.
//!
//! Each part of the keeper says for itself what is carried of it. Here is what a section is called,
//! which of them a keeper cannot do without, and whether all of them fit together. The version of a
//! section goes up when readers of the one before would take it for something else; a reader takes
//! the last two. What is only added is an optional field, which needs no new version.

mod descriptors;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;

use evergate_control::link::KEPT_MAX;
use evergate_core::state::{self, Section, Writer};
use evergate_core::supervise::fleet::Fleet;
use evergate_core::trial::Trial;
use evergate_sys::image::Identity;
use evergate_sys::privilege::User;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

pub(crate) use self::descriptors::{Descriptors, Fd, Listing, Taken, Uses, close};
use crate::keeper::Reload;
use crate::{Options, apps, sockets, standby, upgrades, workers};

/// What a section is called.
#[derive(Clone, Copy, Debug)]
struct Kind {
    number: u16,
    version: u16,
    /// For people.
    name: &'static str,
}

const NODE: Kind = Kind { number: 1, version: 1, name: "the node" };
const DESCRIPTORS: Kind = Kind { number: 2, version: 1, name: "the descriptors" };
const SOCKETS: Kind = Kind { number: 3, version: 1, name: "the sockets" };
const WORKERS: Kind = Kind { number: 4, version: 1, name: "the workers" };
const FLEET: Kind = Kind { number: 5, version: 1, name: "how apps are" };
const APPS: Kind = Kind { number: 6, version: 1, name: "the apps" };
const KEPT: Kind = Kind { number: 7, version: 1, name: "what workers had kept" };
const UPGRADES: Kind = Kind { number: 8, version: 1, name: "upgrades" };
const NEWS: Kind = Kind { number: 9, version: 1, name: "news of apps" };
/// Required while there is a virtual address.
const STANDBY: Kind = Kind { number: 10, version: 1, name: "the virtual addresses" };

/// Everything that is to go to the next image.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) node: Node,
    pub(crate) descriptors: Descriptors,
    pub(crate) sockets: sockets::Carried,
    pub(crate) workers: workers::Carried,
    pub(crate) fleet: &'a Fleet,
    pub(crate) apps: apps::Carried,
    pub(crate) kept: Kept,
    pub(crate) upgrades: upgrades::Carried,
    pub(crate) news: apps::CarriedNews,
    pub(crate) standby: standby::Carried,
}

/// Everything that came from the image before.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) node: Node,
    pub(crate) descriptors: Descriptors,
    pub(crate) sockets: sockets::Carried,
    pub(crate) workers: workers::Carried,
    pub(crate) fleet: Fleet,
    pub(crate) apps: apps::Carried,
    pub(crate) kept: Kept,
    pub(crate) upgrades: upgrades::Carried,
    pub(crate) news: apps::CarriedNews,
    pub(crate) standby: standby::Carried,
    /// What could not be read and can be done without, a line each for the operator.
    pub(crate) given_up: Vec<String>,
}

/// The keeper itself.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct Node {
    /// How it was started at first.
    #[n(0)]
    pub(crate) start: Start,
    /// How often it became another image.
    #[n(1)]
    pub(crate) execs: u32,
    /// The image that it failed to become, if the last try failed, and how often. While it tries, the
    /// try counts as failed.
    #[n(2)]
    pub(crate) failed: Option<Failed>,
    /// Whether any worker has been ready.
    #[n(3)]
    pub(crate) is_settled: bool,
    /// A reload that is not over.
    #[n(4)]
    pub(crate) reload: Option<Reload>,
    /// Of whoever did not know of trials it is as if no worker had said anything.
    #[n(5)]
    #[cbor(default)]
    pub(crate) trial: Trial,
}

/// As [`Options`], but for what is a matter of the release.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct Start {
    #[n(0)]
    program: ByteVec,
    #[n(1)]
    args: Vec<ByteVec>,
    #[n(2)]
    config_dir: ByteVec,
    /// The number of the worker's user, its group's, and its other groups'.
    #[n(3)]
    worker_user: Option<(u32, u32, Vec<u32>)>,
}

impl Node {
    /// One that has become another image `execs` times.
    pub(crate) fn new(options: &Options, execs: u32) -> Self {
        let bytes = |text: &OsStr| ByteVec::from(text.as_bytes().to_vec());
        let user = options.worker_user.as_ref();
        let start = Start {
            program: bytes(options.program.as_os_str()),
            args: options.args.iter().map(|one| bytes(one)).collect(),
            config_dir: bytes(options.config_dir.as_os_str()),
            worker_user: user.map(|user| (user.uid, user.gid, user.groups.clone())),
        };
        Self {
            start,
            execs,
            failed: None,
            is_settled: false,
            reload: None,
            trial: Trial::default(),
        }
    }

    /// How it was started at first, with the policies of this release.
    pub(crate) fn options(&self) -> Options {
        let text = |bytes: &ByteVec| OsString::from_vec(bytes.to_vec());
        let user = self.start.worker_user.clone();
        Options {
            program: text(&self.start.program).into(),
            args: self.start.args.iter().map(text).collect(),
            config_dir: text(&self.start.config_dir).into(),
            worker_user: user.map(|(uid, gid, groups)| User { uid, gid, groups }),
            worker_policy: Default::default(),
            upgrade_policy: Default::default(),
        }
    }

    /// What a blob says of it.
    pub(crate) fn decode(blob: &[u8]) -> Result<Self, String> {
        let sections = state::read(blob).map_err(|refusal| refusal.to_string())?;
        Reader::new(sections)?.required(NODE)
    }
}

/// An image that the keeper failed to become.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct Failed {
    #[n(0)]
    device: u64,
    #[n(1)]
    inode: u64,
    #[n(2)]
    bytes: u64,
    #[n(3)]
    written_at: i64,
    /// How often.
    #[n(4)]
    pub(crate) times: u32,
}

impl Failed {
    /// One failure more.
    pub(crate) fn again(before: Option<Self>, image: Identity) -> Self {
        let Identity { device, inode, bytes, written_at } = image;
        let first = Self { device, inode, bytes, written_at, times: 1 };
        match before {
            Some(before) if Self { times: 1, ..before } == first => {
                Self { times: before.times.saturating_add(1), ..first }
            }
            Some(_) | None => first,
        }
    }
}

/// What workers had kept.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Kept {
    #[n(0)]
    files: Vec<(String, Fd)>,
}

impl Kept {
    pub(crate) fn carry<'a>(
        kept: &'a BTreeMap<String, Rc<OwnedFd>>,
        listing: &mut Listing<'a>,
    ) -> Self {
        let files = kept.iter().map(|(name, file)| (name.clone(), listing.add(file)));
        Self { files: files.collect() }
    }

    pub(crate) fn resume(self, taken: &Taken) -> BTreeMap<String, Rc<OwnedFd>> {
        let files = self.files.into_iter().take(KEPT_MAX);
        files.map(|(name, file)| (name, taken.shared(file))).collect()
    }
}

impl Parts<'_> {
    /// The blob; nothing if it would be too long.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::new();
        write(&mut writer, NODE, Need::Required, &self.node);
        write(&mut writer, DESCRIPTORS, Need::Required, &self.descriptors);
        write(&mut writer, SOCKETS, Need::Required, &self.sockets);
        write(&mut writer, WORKERS, Need::Required, &self.workers);
        write(&mut writer, FLEET, Need::Required, self.fleet);
        write(&mut writer, APPS, Need::Required, &self.apps);
        write(&mut writer, KEPT, Need::Optional, &self.kept);
        write(&mut writer, UPGRADES, Need::Optional, &self.upgrades);
        write(&mut writer, NEWS, Need::Optional, &self.news);
        let need = if self.standby.is_needed() { Need::Required } else { Need::Optional };
        write(&mut writer, STANDBY, need, &self.standby);
        writer.finish()
    }
}

impl Carried {
    /// What the blob says, if a keeper can go on from it; else why not.
    pub(crate) fn decode(blob: &[u8]) -> Result<Self, String> {
        let sections = state::read(blob).map_err(|refusal| refusal.to_string())?;
        let mut reader = Reader::new(sections)?;
        let carried = Self {
            node: reader.required(NODE)?,
            descriptors: reader.required(DESCRIPTORS)?,
            sockets: reader.required(SOCKETS)?,
            workers: reader.required(WORKERS)?,
            fleet: reader.required(FLEET)?,
            apps: reader.required(APPS)?,
            kept: reader.optional(KEPT),
            upgrades: reader.optional(UPGRADES),
            news: reader.optional(NEWS),
            standby: reader.if_required(STANDBY)?,
            given_up: reader.finish()?,
        };
        carried.check()?;
        Ok(carried)
    }

    /// Whether all of it fits together.
    fn check(&self) -> Result<(), String> {
        let mut uses = Uses::default();
        self.sockets.uses(&mut uses);
        self.workers.uses(&mut uses);
        self.apps.uses(&mut uses);
        self.news.uses(&mut uses);
        self.standby.uses(&mut uses);
        self.kept.files.iter().for_each(|&(_, file)| uses.share(file));
        uses.check(&self.descriptors)?;
        self.sockets.check()?;
        self.workers.check()?;
        self.standby.check()?;
        self.apps.check()
    }

    /// Every process that must be there, with the time of its start in ticks after boot.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u32, u64)> {
        let standby = self.standby.children();
        self.workers.children().chain(self.apps.children()).chain(standby)
    }
}

/// Whether a keeper must know a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Need {
    Required,
    Optional,
}

fn write(writer: &mut Writer, kind: Kind, need: Need, body: &impl Encode<()>) {
    let body = minicbor::to_vec(body).expect("a vector takes every byte");
    let is_required = need == Need::Required;
    let (kind, version) = (kind.number, kind.version);
    writer.section(Section { kind, version, is_required, body: &body });
}

/// Sections that are still to be read.
#[derive(Debug)]
struct Reader<'a> {
    sections: BTreeMap<u16, Section<'a>>,
    given_up: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(all: Vec<Section<'a>>) -> Result<Self, String> {
        let count = all.len();
        let sections: BTreeMap<_, _> = all.into_iter().map(|one| (one.kind, one)).collect();
        match sections.len() == count {
            true => Ok(Self { sections, given_up: Vec::new() }),
            false => Err("the state has a section twice".to_owned()),
        }
    }

    fn required<T: Decode<'a, ()>>(&mut self, kind: Kind) -> Result<T, String> {
        self.read(kind).map_err(|why| format!("{} cannot be read: {why}", kind.name))
    }

    fn optional<T: Decode<'a, ()> + Default>(&mut self, kind: Kind) -> T {
        self.read(kind).unwrap_or_else(|why| {
            self.given_up.push(format!("{} cannot be read, and is given up: {why}", kind.name));
            T::default()
        })
    }

    /// Of whoever wrote it depends whether it can be done without. One from before there was any of it
    /// has none.
    fn if_required<T: Decode<'a, ()> + Default>(&mut self, kind: Kind) -> Result<T, String> {
        match self.sections.get(&kind.number) {
            Some(section) if section.is_required => self.required(kind),
            Some(_) => Ok(self.optional(kind)),
            None => Ok(T::default()),
        }
    }

    fn read<T: Decode<'a, ()>>(&mut self, kind: Kind) -> Result<T, String> {
        let Some(section) = self.sections.remove(&kind.number) else {
            return Err("it is missing".to_owned());
        };
        let (oldest, newest) = (kind.version.saturating_sub(1), kind.version);
        if !(oldest..=newest).contains(&section.version) {
            let version = section.version;
            return Err(format!("it is of version {version}, not {oldest} or {newest}"));
        }
        minicbor::decode(section.body).map_err(|error| error.to_string())
    }

    /// What was given up, if nothing is left that must be known.
    fn finish(self) -> Result<Vec<String>, String> {
        match self.sections.values().find(|section| section.is_required) {
            Some(section) => {
                Err(format!("a section of kind {} is needed and not known here", section.kind))
            }
            None => Ok(self.given_up),
        }
    }
}

#[cfg(test)]
mod tests;
