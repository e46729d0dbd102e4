//! The tree of segments, and the walk over all that match, best first.
//!
//! Nodes lie in one list, and the literal edges of all nodes in one hash table, keyed by node and
//! text; so a step down costs the length of the segment, not the number of siblings. A node is
//! reached by one path only, so a walk sees each node at most once, whatever the request.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::{ControlFlow, Range};

use super::host::HostName;
use super::pattern::{PARAMS_MAX, Pattern, Segment};
use super::{HostPattern, Spec};
use crate::id::RouteId;

/// The node whose literal edges are the exact hosts.
const EXACT: u32 = 0;
/// The node whose literal edges are the wildcard hosts.
const BELOW: u32 = 1;
/// The root of the paths of any host.
const ANY: u32 = 2;

/// A set of routes.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    edges: Edges,
    /// Bytes of the longest wildcard host: a longer parent of a request's host need not be sought.
    below_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// Whether there are edges from here in the table.
    has_literals: bool,
    /// Segments with a parameter, longest text around it first: the bare one comes last.
    params: Vec<Param>,
    /// Routes whose path ends here.
    here: Vec<Entry>,
    /// Routes whose wildcard starts below.
    rest: Vec<Entry>,
}

#[derive(Debug)]
struct Param {
    prefix: Box<[u8]>,
    suffix: Box<[u8]>,
    node: u32,
}

/// A route at the end of its path.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: RouteId,
    pub(super) methods: Box<[Box<str>]>,
    pub(super) names: Box<[Box<str>]>,
    conditions: u16,
    conditions_key: Box<str>,
}

/// Which bytes of the path the parameters stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Captures {
    spans: [(u32, u32); PARAMS_MAX],
    len: usize,
}

impl Tree {
    pub(super) fn new() -> Self {
        let nodes = [EXACT, BELOW, ANY].map(|_| Node::default());
        Self { nodes: nodes.into(), edges: Edges::default(), below_bytes_max: 0 }
    }

    pub(super) fn insert(&mut self, id: RouteId, spec: &Spec) -> Result<(), String> {
        let pattern = Pattern::parse(&spec.path)?;
        let mut node = match &spec.host {
            HostPattern::Exact(host) => self.host(EXACT, host)?,
            HostPattern::Below(host) => {
                self.below_bytes_max = self.below_bytes_max.max(host.len());
                self.host(BELOW, host)?
            }
            HostPattern::Any => ANY,
        };
        let mut is_rest = false;
        for segment in &pattern.segments {
            match segment {
                Segment::Literal(text) => node = self.literal(node, text),
                Segment::Param { prefix, suffix } => node = self.param(node, prefix, suffix),
                Segment::Rest => is_rest = true,
            }
        }
        let node = &mut self.nodes[node as usize];
        let leaf = if is_rest { &mut node.rest } else { &mut node.here };
        leaf.push(Entry {
            id,
            methods: spec.methods.iter().map(|method| method.as_str().into()).collect(),
            names: pattern.names.into(),
            conditions: spec.conditions,
            conditions_key: spec.conditions_key.as_str().into(),
        });
        Ok(())
    }

    /// Puts the better first everywhere, and reports pairs of which neither is better.
    pub(super) fn finish(&mut self, mut report: impl FnMut(RouteId, RouteId)) {
        for node in &mut self.nodes {
            node.params.sort_by_key(|p| Reverse((p.prefix.len(), p.suffix.len())));
            for leaf in [&mut node.here, &mut node.rest] {
                report_ties(leaf, &mut report);
                leaf.sort_by(|a, b| a.rank().cmp(&b.rank()));
            }
        }
    }

    fn host(&mut self, kind: u32, host: &str) -> Result<u32, String> {
        let name = HostName::parse(host.as_bytes());
        if name.text().is_empty() {
            return Err(format!(
                "the host `{host}` can never match: no name is so long or so short"
            ));
        }
        Ok(self.literal(kind, name.text()))
    }

    fn literal(&mut self, node: u32, text: &[u8]) -> u32 {
        if let Some(child) = self.edges.find(node, text) {
            return child;
        }
        let child = self.add();
        self.edges.insert(node, text, child);
        self.nodes[node as usize].has_literals = true;
        child
    }

    fn param(&mut self, node: u32, prefix: &[u8], suffix: &[u8]) -> u32 {
        let params = &self.nodes[node as usize].params;
        if let Some(known) = params.iter().find(|p| *p.prefix == *prefix && *p.suffix == *suffix) {
            return known.node;
        }
        let child = self.add();
        let param = Param { prefix: prefix.into(), suffix: suffix.into(), node: child };
        self.nodes[node as usize].params.push(param);
        child
    }

    fn add(&mut self) -> u32 {
        let id = u32::try_from(self.nodes.len()).expect("fewer than 2^32 segments");
        self.nodes.push(Node::default());
        id
    }

    /// The longest probe for any edge, a measure of how good the hash is.
    #[cfg(test)]
    pub(super) fn steps_max(&self) -> usize {
        let edges = &self.edges;
        let steps = |(slot, index): (usize, &u32)| {
            let edge = &edges.list[index.checked_sub(1)? as usize];
            Some((slot + edges.slots.len() - edges.first_slot(edge.hash)) % edges.slots.len())
        };
        edges.slots.iter().enumerate().filter_map(steps).max().unwrap_or(0)
    }

    /// Calls `visit` with each route whose host and path match, best first, until it breaks.
    pub(super) fn walk<'t, B>(
        &'t self,
        host: &HostName,
        path: &str,
        visit: impl FnMut(&'t Entry, &Captures) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if !path.starts_with('/') {
            return ControlFlow::Continue(());
        }
        let mut walk = Walk { tree: self, path, captures: Captures::default(), visit };
        if let Some(root) = self.edges.find(EXACT, host.text()) {
            walk.descend(root, Some(1))?;
        }
        if self.below_bytes_max > 0 {
            let parents = host.parents().filter(|parent| parent.len() <= self.below_bytes_max);
            for root in parents.filter_map(|parent| self.edges.find(BELOW, parent)) {
                walk.descend(root, Some(1))?;
            }
        }
        walk.descend(ANY, Some(1))
    }
}

impl Entry {
    pub(super) fn takes(&self, method: &[u8]) -> bool {
        let names = |wanted: &[u8]| self.methods.iter().any(|known| known.as_bytes() == wanted);
        self.methods.is_empty() || names(method) || (method == b"HEAD" && names(b"GET"))
    }

    /// Sorts the better route first: more conditions (a list of methods counts as one), then more
    /// of them on other things than the method, then one that names HEAD rather than implies it.
    /// Different conditions that weigh the same are taken in the order of their text.
    fn rank(&self) -> impl Ord + '_ {
        let count = u32::from(self.conditions) + u32::from(!self.methods.is_empty());
        let names_head = self.methods.iter().any(|method| **method == *"HEAD");
        (Reverse((count, self.conditions, names_head)), &self.conditions_key, self.id)
    }

    fn ties_with(&self, other: &Self) -> bool {
        self.conditions == other.conditions
            && self.conditions_key == other.conditions_key
            && self.methods.is_empty() == other.methods.is_empty()
            && (self.methods.is_empty() || self.methods.iter().any(|m| other.methods.contains(m)))
    }
}

/// Reports each route of a leaf at most once, with the first one that it ties with.
fn report_ties(leaf: &mut [Entry], report: &mut impl FnMut(RouteId, RouteId)) {
    leaf.sort_by(|a, b| (&a.conditions_key, a.id).cmp(&(&b.conditions_key, b.id)));
    for group in leaf.chunk_by(|a, b| a.conditions_key == b.conditions_key) {
        for (index, entry) in group.iter().enumerate() {
            if let Some(earlier) = group[..index].iter().find(|earlier| entry.ties_with(earlier)) {
                report(earlier.id, entry.id);
            }
        }
    }
}

impl Captures {
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        self.spans[..self.len].iter().map(|&(start, end)| start as usize..end as usize)
    }

    fn push(&mut self, span: Range<usize>) {
        debug_assert!(self.len < PARAMS_MAX, "patterns have no more parameters");
        self.spans[self.len] = (span.start as u32, span.end as u32);
        self.len += 1;
    }

    fn pop(&mut self) {
        self.len -= 1;
    }
}

/// One search.
struct Walk<'t, 'p, V> {
    tree: &'t Tree,
    path: &'p str,
    captures: Captures,
    visit: V,
}

impl<'t, B, V: FnMut(&'t Entry, &Captures) -> ControlFlow<B>> Walk<'t, '_, V> {
    /// Visits what matches under `node`; the next segment starts `at`, or there is none. The depth
    /// is that of the tree, so at most `SEGMENTS_MAX`.
    fn descend(&mut self, node: u32, at: Option<usize>) -> ControlFlow<B> {
        let tree = self.tree;
        let here = &tree.nodes[node as usize];
        let Some(start) = at else {
            self.visit_all(&here.here)?;
            return self.visit_rest(&here.rest, self.path.len());
        };
        let left = &self.path.as_bytes()[start..];
        let slash = memchr::memchr(b'/', left);
        let segment = &left[..slash.unwrap_or(left.len())];
        let next = slash.map(|slash| start + slash + 1);
        if here.has_literals
            && let Some(child) = tree.edges.find(node, segment)
        {
            self.descend(child, next)?;
        }
        for param in &here.params {
            let around = param.prefix.len() + param.suffix.len();
            if segment.len() > around
                && segment.starts_with(&param.prefix)
                && segment.ends_with(&param.suffix)
            {
                let end = start + segment.len() - param.suffix.len();
                self.captures.push(start + param.prefix.len()..end);
                self.descend(param.node, next)?;
                self.captures.pop();
            }
        }
        self.visit_rest(&here.rest, start)
    }

    fn visit_rest(&mut self, leaf: &'t [Entry], start: usize) -> ControlFlow<B> {
        if leaf.is_empty() {
            return ControlFlow::Continue(());
        }
        self.captures.push(start..self.path.len());
        self.visit_all(leaf)?;
        self.captures.pop();
        ControlFlow::Continue(())
    }

    fn visit_all(&mut self, leaf: &'t [Entry]) -> ControlFlow<B> {
        leaf.iter().try_for_each(|entry| (self.visit)(entry, &self.captures))
    }
}

/// The literal edges of all nodes: a hash table with linear probing, never more than half full.
///
/// The keys come from the configuration, so nobody outside can make them collide.
#[derive(Debug, Default)]
struct Edges {
    /// One more than the index into `list`, or 0; as many as a power of two.
    slots: Vec<u32>,
    list: Vec<Edge>,
}

#[derive(Debug)]
struct Edge {
    hash: u64,
    from: u32,
    to: u32,
    text: Box<[u8]>,
}

impl Edges {
    fn find(&self, from: u32, text: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = hash(from, text);
        let mut slot = self.first_slot(hash);
        while let Some(index) = self.slots[slot].checked_sub(1) {
            let edge = &self.list[index as usize];
            if edge.hash == hash && edge.from == from && *edge.text == *text {
                return Some(edge.to);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// Adds an edge that was not there.
    fn insert(&mut self, from: u32, text: &[u8], to: u32) {
        self.list.push(Edge { hash: hash(from, text), from, to, text: text.into() });
        if self.list.len() * 2 > self.slots.len() {
            self.slots = Vec::new();
            self.slots.resize((self.list.len() * 4).next_power_of_two(), 0);
            (0..self.list.len()).for_each(|index| self.settle(index));
        } else {
            self.settle(self.list.len() - 1);
        }
    }

    fn settle(&mut self, index: usize) {
        let mut slot = self.first_slot(self.list[index].hash);
        while self.slots[slot] != 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = u32::try_from(index + 1).expect("fewer than 2^32 edges");
    }

    /// The high bits, since those of a product depend on all bits of its factors.
    fn first_slot(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.slots.len() - 1)
    }
}

/// Multiplies eight bytes at a time into the hash.
fn hash(from: u32, text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let mut chunks = text.chunks_exact(8);
    let mut hash = mix(text.len() as u64, u64::from(from));
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("a chunk of eight")));
    }
    let last = chunks.remainder().iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    mix(hash, last)
}
