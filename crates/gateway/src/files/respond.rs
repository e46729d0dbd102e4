//! From a request for a file to its answer: which file, in which form, how much of it.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;

use evergate_config::Rewrite;
use evergate_core::files::{
    Accepted, Choice, Coding, Conditions, Ranges, Span, Validators, Verdict, imf_fixdate, ranges,
};
use evergate_core::head::{Fields, Method, Name, ResponseHead};
use evergate_sys::clock;

use super::Files;
use super::body::Sending;
use super::compressor::{COMPRESS_BYTES_MAX, COMPRESS_BYTES_MIN, Outcome};
use super::lookup::{self, Lookup};
use super::opened::{OpenFile, Source};
use crate::answer;
use crate::client::Client;
use crate::exchange::{Record, Request};
use crate::facts::Facts;
use crate::filter::Edits;
use crate::http1::forward::{Length, ResponsePlan, reason_phrase};
use crate::plan::Route;
use crate::reject::{ClientFault, FileFault, Reject};
use crate::rewrite;
use crate::shard::{Report, Shard};

/// What files can be asked with.
const METHODS: &[u8] = b"GET, HEAD, OPTIONS";
/// How often a file that changes while it is read is looked at anew.
const LOOKS_MAX: u32 = 3;

/// A file in the form it is sent in.
#[derive(Debug)]
struct Form {
    /// What was asked for.
    file: Rc<OpenFile>,
    /// What is sent: the same, or the same in a coding from a file beside it.
    sent: Rc<OpenFile>,
    coding: Option<Coding>,
    /// Whether the coding is done on the way.
    is_packed: bool,
    /// Whether another client may get another form.
    varies: bool,
    /// Quotes included.
    tag: String,
}

/// What is sent of it.
struct Part {
    status: u16,
    content_type: Option<String>,
    content_range: Option<String>,
    length: u64,
    sending: Sending,
}

/// Answers with a file.
#[expect(clippy::too_many_arguments, reason = "the parts of one exchange, each named once")]
pub(crate) async fn serve<C: Client>(
    shard: &Shard,
    files: &Files,
    route: &Route,
    client: &mut C,
    request: &Request<'_>,
    facts: &Facts<'_>,
    edits: &mut Edits<'_>,
    record: &mut Record,
) -> Result<(), Reject> {
    let method = request.head.method;
    if !matches!(method, Method::Get | Method::Head) {
        edits.response.set("Allow", METHODS.to_vec());
        if method != Method::Options {
            return Err(Reject::Client(ClientFault::Method));
        }
        answer::whole(client, request, 204, b"", &edits.response, record).await;
        return Ok(());
    }
    let path = rewrite::path(&route.rewrite, facts);
    for _ in 0..LOOKS_MAX {
        let Some(file) = look(shard, files, &path, route, facts)? else {
            edits.response.set("Location", slashed(facts));
            answer::whole(client, request, 308, b"", &edits.response, record).await;
            return Ok(());
        };
        let mut form = choose(shard, files, file, &request.head.fields, edits)?;
        let validators = Validators { tag: form.tag.as_bytes(), modified: form.file.modified };
        let now = clock::unix_seconds();
        let verdict = Conditions::new(&request.head.fields, now).judge(method, &validators);
        let takes_range = match verdict {
            Verdict::Send => method == Method::Get,
            Verdict::SendWhole => false,
            Verdict::NotModified => {
                return send(shard, route, client, request, &form, None, edits, record).await;
            }
            Verdict::Failed => return Err(Reject::Client(ClientFault::Precondition)),
        };
        let source = match source(shard, files, &mut form).await {
            Ok(source) => source,
            // Its tag and what would be read do not belong together.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                shard.files.forget(files, &form.file.name);
                continue;
            }
            Err(_) => break,
        };
        let part = part(shard, request, &form, source, takes_range, edits)?;
        return send(shard, route, client, request, &form, Some(part), edits, record).await;
    }
    Err(Reject::File(FileFault::Unreadable))
}

/// The file that answers; `None` is a redirect to the same with a slash behind it.
fn look(
    shard: &Shard,
    files: &Files,
    path: &str,
    route: &Route,
    facts: &Facts<'_>,
) -> Result<Option<Rc<OpenFile>>, Reject> {
    match lookup::look(files, &shard.files, path, facts.head, clock::now()) {
        Lookup::File(..) if lacks_slash(route, path, facts) => Ok(None),
        Lookup::File(file, _) => Ok(Some(file)),
        Lookup::AddSlash => Ok(None),
        Lookup::Missing(_) => Err(Reject::Client(ClientFault::NoFile)),
        Lookup::Denied(name) => {
            if files.tells_denied() {
                let report = Report::FileDenied { route: route.name.clone(), name };
                // The next one tells.
                let _ = shard.reports.try_send(report);
            }
            Err(Reject::Client(ClientFault::FileDenied))
        }
        Lookup::Failed(_) => Err(Reject::File(FileFault::Unreadable)),
    }
}

/// Whether the root itself is asked for by a path without a slash behind it: `/docs`, stripped of
/// `/docs`, is a folder too.
pub(super) fn lacks_slash(route: &Route, path: &str, facts: &Facts<'_>) -> bool {
    path == "/" && matches!(route.rewrite, Rewrite::StripPrefix(_)) && !facts.path.ends_with('/')
}

/// The path asked for with a slash behind it. It has no empty segments, so no browser takes it for
/// another host's.
fn slashed(facts: &Facts<'_>) -> Vec<u8> {
    let mut location = facts.path.as_bytes().to_vec();
    location.push(b'/');
    if let Some(query) = facts.head.query() {
        location.push(b'?');
        location.extend(query.iter().copied().filter(u8::is_ascii_graphic));
    }
    location
}

/// Chooses the form that the client likes best; of two that it likes as much, one that is there
/// already.
fn choose(
    shard: &Shard,
    files: &Files,
    file: Rc<OpenFile>,
    fields: &Fields,
    edits: &mut Edits<'_>,
) -> Result<Form, Reject> {
    let mut siblings: &[Option<Rc<OpenFile>>; 3] = &[None, None, None];
    if files.settings.precompressed {
        siblings = shard.files.siblings(files, &file);
    }
    let is_there = |coding: Coding| siblings[coding as usize].is_some();
    let accepted = Accepted::read(fields);
    let packs = may_pack(files, &file, &accepted);
    let varies = packs || Coding::ALL.into_iter().any(is_there);
    let choice = if varies || !accepted.takes_identity() {
        let packed = files.settings.compress.iter().copied();
        let packed = packed.filter(|&coding| packs && !files.compressor.is_useless(&file, coding));
        accepted.choose(Coding::ALL.into_iter().filter(|&coding| is_there(coding)).chain(packed))
    } else {
        Choice::Identity
    };
    let coding = match choice {
        Choice::Identity => None,
        Choice::Coded(coding) => Some(coding),
        Choice::Nothing => {
            edits.response.add.push(("Vary", b"Accept-Encoding".to_vec()));
            return Err(Reject::Client(ClientFault::NotAcceptable));
        }
    };
    let sibling = coding.and_then(|coding| siblings[coding as usize].clone());
    let is_packed = coding.is_some() && sibling.is_none();
    let sent = sibling.unwrap_or_else(|| Rc::clone(&file));
    let tag = match coding {
        Some(coding) if is_packed => format!("W/\"{}-{}\"", sent.tag, coding.token()),
        Some(_) | None => strong_tag(&sent),
    };
    Ok(Form { file, sent, coding, is_packed, varies, tag })
}

/// The tag of a file as it lies there.
fn strong_tag(file: &OpenFile) -> String {
    let weak = if file.is_settled { "" } else { "W/" };
    format!("{weak}\"{}\"", file.tag)
}

/// Whether `file` is compressed on the way for those who like it.
fn may_pack(files: &Files, file: &OpenFile, accepted: &Accepted) -> bool {
    let least = if accepted.takes_identity() { COMPRESS_BYTES_MIN } else { 0 };
    let forbids = |value: &str| value.to_ascii_lowercase().contains("no-transform");
    !files.settings.compress.is_empty()
        && file.media.shrinks
        && (least..=COMPRESS_BYTES_MAX).contains(&file.length)
        && file.state().is_some()
        && !file.cache_control.as_deref().is_some_and(forbids)
}

/// Where the bytes come from. What does not get smaller on the way goes out as it is.
///
/// # Errors
/// `Interrupted` if the file has changed since its tag was made.
async fn source(shard: &Shard, files: &Files, form: &mut Form) -> io::Result<Source> {
    if let Some(coding) = form.coding.filter(|_| form.is_packed) {
        match files.compressor.pack(&form.file, coding).await {
            Outcome::Packed(bytes) => return Ok(Source::Shared(bytes)),
            Outcome::Changed => return Err(io::ErrorKind::Interrupted.into()),
            Outcome::Useless | Outcome::Busy => {}
        }
        (form.coding, form.is_packed) = (None, false);
        form.tag = strong_tag(&form.file);
    }
    shard.files.source(&form.sent)
}

/// What of the file is sent, with the fields that say so.
fn part(
    shard: &Shard,
    request: &Request<'_>,
    form: &Form,
    source: Source,
    takes_range: bool,
    edits: &mut Edits<'_>,
) -> Result<Part, Reject> {
    let length = match &source {
        Source::Shared(bytes) => bytes.len() as u64,
        Source::File(_) | Source::Memory(_) | Source::Binary(_) => form.sent.length,
    };
    let asked = request.head.fields.get(Name::Range).filter(|_| takes_range && !form.is_packed);
    let limits = &request.listener.limits;
    let one = |status, span: Span, content_range, source| Part {
        status,
        content_type: None,
        content_range,
        length: span.end - span.start,
        sending: Sending::one(source, span, limits),
    };
    Ok(match asked.map_or(Ranges::Whole, |value| ranges(value, length)) {
        Ranges::Whole => one(200, 0..length, None, source),
        Ranges::One(span) => {
            let content_range = content_range(&span, length);
            one(206, span, Some(content_range), source)
        }
        Ranges::Several(spans) => {
            let boundary = shard.request_id();
            let boundary = String::from_utf8_lossy(&boundary);
            let mut whole = 0;
            let parts = spans.into_iter().map(|span| {
                let (media, range) = (form.file.media.text, content_range(&span, length));
                let text = format!(
                    "\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {range}\r\n\r\n"
                );
                whole += text.len() as u64 + (span.end - span.start);
                (text.into_bytes(), span)
            });
            let parts: Vec<_> = parts.collect();
            let tail = format!("\r\n--{boundary}--\r\n").into_bytes();
            Part {
                status: 206,
                content_type: Some(format!("multipart/byteranges; boundary={boundary}")),
                content_range: None,
                length: whole + tail.len() as u64,
                sending: Sending::several(source, parts, tail, limits),
            }
        }
        Ranges::Unsatisfiable => {
            let content_range = format!("bytes */{length}").into_bytes();
            edits.response.set("Content-Range", content_range);
            return Err(Reject::Client(ClientFault::Range));
        }
    })
}

fn content_range(span: &Span, length: u64) -> String {
    format!("bytes {}-{}/{length}", span.start, span.end - 1)
}

/// Sends the answer; without a part it says that the client has the file.
#[expect(clippy::too_many_arguments, reason = "the parts of one exchange, each named once")]
async fn send<C: Client>(
    shard: &Shard,
    route: &Route,
    client: &mut C,
    request: &Request<'_>,
    form: &Form,
    part: Option<Part>,
    edits: &Edits<'_>,
    record: &mut Record,
) -> Result<(), Reject> {
    let close = !answer::discard_body(client, request).await;
    let head = write_head(shard, form, part.as_ref());
    let status = part.as_ref().map_or(304, |part| part.status);
    let head_only = request.head.method == Method::Head;
    record.status = status;
    client.begin(&ResponsePlan {
        status,
        head: Some(&head),
        connection_names: false,
        length: part.as_ref().map_or(Length::Absent, |part| Length::Sized(part.length)),
        bodyless: head_only || part.is_none(),
        upgrade: false,
        close,
        changes: &edits.response,
    });
    shard.buffers.give_response(head);
    let limits = &request.listener.limits;
    let mut sending = match part {
        Some(part) if !head_only => part.sending,
        Some(_) | None => Sending::nothing(limits),
    };
    let local = request.caller.local;
    let sent = poll_fn(|cx| sending.poll(cx, shard, route, local, client)).await;
    record.sent = sending.sent;
    sent
}

/// The fields of the answer, as if a server had sent them.
fn write_head(shard: &Shard, form: &Form, part: Option<&Part>) -> ResponseHead {
    let mut head = shard.buffers.take_response();
    let fields = &mut head.fields;
    fields.clear();
    let status = part.map_or(304, |part| part.status);
    head.reason_at = fields.append_text(reason_phrase(status).as_bytes());
    let mut line = |name: &str, value: &[u8]| {
        fields.append(Name::parse(name.as_bytes()), name.as_bytes(), value);
    };
    if let Some(part) = part {
        let media = part.content_type.as_deref().unwrap_or(form.file.media.text);
        line("Content-Type", media.as_bytes());
        // Whoever guesses might take what a stranger uploaded for a page.
        line("X-Content-Type-Options", b"nosniff");
        if let Some(coding) = form.coding {
            line("Content-Encoding", coding.token().as_bytes());
        }
        if let Some(range) = &part.content_range {
            line("Content-Range", range.as_bytes());
        }
        if let Some(modified) = form.file.modified {
            line("Last-Modified", &imf_fixdate(modified));
        }
        if !form.is_packed {
            line("Accept-Ranges", b"bytes");
        }
    }
    line("ETag", form.tag.as_bytes());
    if let Some(value) = &form.file.cache_control {
        line("Cache-Control", value.as_bytes());
    }
    if form.varies {
        line("Vary", b"Accept-Encoding");
    }
    head
}
