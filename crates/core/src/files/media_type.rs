//! What a file is, by its name.

use super::coding::weighed;
use crate::head::{Fields, Name};

/// Longest extension in the table.
const EXTENSION_BYTES_MAX: usize = 12;

/// What `Content-Type` says, and whether it shrinks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MediaType {
    /// As it stands in `Content-Type`.
    pub text: &'static str,
    /// Whether compressing it is worth the while.
    pub shrinks: bool,
}

/// What nothing else is known of.
const UNKNOWN: MediaType = MediaType { text: "application/octet-stream", shrinks: false };

/// The type of the file called `name`, by what follows its last dot.
pub fn media_type(name: &[u8]) -> MediaType {
    let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    let Some(dot) = file.iter().rposition(|&byte| byte == b'.') else { return UNKNOWN };
    let extension = &file[dot + 1..];
    let mut lower = [0; EXTENSION_BYTES_MAX];
    let Some(lower) = lower.get_mut(..extension.len()) else { return UNKNOWN };
    lower.copy_from_slice(extension);
    lower.make_ascii_lowercase();
    let found = TABLE.binary_search_by(|(known, _, _)| known.as_bytes().cmp(lower));
    found.map_or(UNKNOWN, |at| {
        let (_, text, shrinks) = TABLE[at];
        MediaType { text, shrinks: shrinks == SHRINKS }
    })
}

/// Whether `Accept` lets a page be answered: it names HTML or everything, or is not there.
pub fn takes_html(fields: &Fields) -> bool {
    if !fields.has(Name::Accept) {
        return true;
    }
    let ranges = fields.all(Name::Accept).flat_map(|list| list.split(|&byte| byte == b','));
    ranges.filter_map(weighed).any(|(range, weight)| {
        let is = |name: &[u8]| range.eq_ignore_ascii_case(name);
        weight > 0 && (is(b"text/html") || is(b"application/xhtml+xml") || is(b"*/*"))
    })
}

const SHRINKS: bool = true;
/// It is compressed already, or too random to be.
const DENSE: bool = false;

/// By extension, in order. Text is taken to be UTF-8. RFC 9239 for scripts.
#[rustfmt::skip]
const TABLE: &[(&str, &str, bool)] = &[
    ("7z", "application/x-7z-compressed", DENSE),
    ("aac", "audio/aac", DENSE),
    ("apk", "application/vnd.android.package-archive", DENSE),
    ("apng", "image/apng", DENSE),
    ("appcache", "text/cache-manifest; charset=utf-8", SHRINKS),
    ("atom", "application/atom+xml; charset=utf-8", SHRINKS),
    ("avi", "video/x-msvideo", DENSE),
    ("avif", "image/avif", DENSE),
    ("bin", "application/octet-stream", DENSE),
    ("bmp", "image/bmp", SHRINKS),
    ("br", "application/x-brotli", DENSE),
    ("bz2", "application/x-bzip2", DENSE),
    ("c", "text/plain; charset=utf-8", SHRINKS),
    ("cjs", "text/javascript; charset=utf-8", SHRINKS),
    ("conf", "text/plain; charset=utf-8", SHRINKS),
    ("crl", "application/pkix-crl", DENSE),
    ("crt", "application/x-x509-ca-cert", DENSE),
    ("css", "text/css; charset=utf-8", SHRINKS),
    ("csv", "text/csv; charset=utf-8", SHRINKS),
    ("deb", "application/vnd.debian.binary-package", DENSE),
    ("der", "application/x-x509-ca-cert", DENSE),
    ("doc", "application/msword", SHRINKS),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", DENSE),
    ("eot", "application/vnd.ms-fontobject", SHRINKS),
    ("epub", "application/epub+zip", DENSE),
    ("flac", "audio/flac", DENSE),
    ("geojson", "application/geo+json", SHRINKS),
    ("gif", "image/gif", DENSE),
    ("glb", "model/gltf-binary", SHRINKS),
    ("gltf", "model/gltf+json", SHRINKS),
    ("gz", "application/gzip", DENSE),
    ("h", "text/plain; charset=utf-8", SHRINKS),
    ("heic", "image/heic", DENSE),
    ("htm", "text/html; charset=utf-8", SHRINKS),
    ("html", "text/html; charset=utf-8", SHRINKS),
    ("ico", "image/vnd.microsoft.icon", SHRINKS),
    ("ics", "text/calendar; charset=utf-8", SHRINKS),
    ("iso", "application/octet-stream", DENSE),
    ("jar", "application/java-archive", DENSE),
    ("jpeg", "image/jpeg", DENSE),
    ("jpg", "image/jpeg", DENSE),
    ("js", "text/javascript; charset=utf-8", SHRINKS),
    ("json", "application/json", SHRINKS),
    ("jsonld", "application/ld+json", SHRINKS),
    ("jxl", "image/jxl", DENSE),
    ("kml", "application/vnd.google-earth.kml+xml", SHRINKS),
    ("log", "text/plain; charset=utf-8", SHRINKS),
    ("m3u8", "application/vnd.apple.mpegurl", SHRINKS),
    ("m4a", "audio/mp4", DENSE),
    ("m4v", "video/mp4", DENSE),
    ("map", "application/json", SHRINKS),
    ("md", "text/markdown; charset=utf-8", SHRINKS),
    ("mid", "audio/midi", SHRINKS),
    ("mjs", "text/javascript; charset=utf-8", SHRINKS),
    ("mkv", "video/matroska", DENSE),
    ("mov", "video/quicktime", DENSE),
    ("mp3", "audio/mpeg", DENSE),
    ("mp4", "video/mp4", DENSE),
    ("mpd", "application/dash+xml", SHRINKS),
    ("mpeg", "video/mpeg", DENSE),
    ("mpg", "video/mpeg", DENSE),
    ("odp", "application/vnd.oasis.opendocument.presentation", DENSE),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet", DENSE),
    ("odt", "application/vnd.oasis.opendocument.text", DENSE),
    ("oga", "audio/ogg", DENSE),
    ("ogg", "audio/ogg", DENSE),
    ("ogv", "video/ogg", DENSE),
    ("opus", "audio/ogg", DENSE),
    ("otf", "font/otf", SHRINKS),
    ("pdf", "application/pdf", DENSE),
    ("pem", "application/x-pem-file", DENSE),
    ("png", "image/png", DENSE),
    ("ppt", "application/vnd.ms-powerpoint", SHRINKS),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", DENSE),
    ("ps", "application/postscript", SHRINKS),
    ("rar", "application/vnd.rar", DENSE),
    ("rpm", "application/x-rpm", DENSE),
    ("rss", "application/rss+xml; charset=utf-8", SHRINKS),
    ("rtf", "application/rtf", SHRINKS),
    ("svg", "image/svg+xml; charset=utf-8", SHRINKS),
    ("svgz", "image/svg+xml", DENSE),
    ("tar", "application/x-tar", SHRINKS),
    ("tgz", "application/gzip", DENSE),
    ("tif", "image/tiff", DENSE),
    ("tiff", "image/tiff", DENSE),
    ("toml", "application/toml", SHRINKS),
    ("ts", "video/mp2t", DENSE),
    ("ttc", "font/collection", SHRINKS),
    ("ttf", "font/ttf", SHRINKS),
    ("txt", "text/plain; charset=utf-8", SHRINKS),
    ("vtt", "text/vtt; charset=utf-8", SHRINKS),
    ("wasm", "application/wasm", SHRINKS),
    ("wav", "audio/wav", DENSE),
    ("weba", "audio/webm", DENSE),
    ("webm", "video/webm", DENSE),
    ("webmanifest", "application/manifest+json", SHRINKS),
    ("webp", "image/webp", DENSE),
    ("woff", "font/woff", DENSE),
    ("woff2", "font/woff2", DENSE),
    ("xhtml", "application/xhtml+xml; charset=utf-8", SHRINKS),
    ("xls", "application/vnd.ms-excel", SHRINKS),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", DENSE),
    ("xml", "application/xml; charset=utf-8", SHRINKS),
    ("xsl", "application/xslt+xml; charset=utf-8", SHRINKS),
    ("xz", "application/x-xz", DENSE),
    ("yaml", "application/yaml", SHRINKS),
    ("yml", "application/yaml", SHRINKS),
    ("zip", "application/zip", DENSE),
    ("zst", "application/zstd", DENSE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_each_thing_once() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let lower = |text: &str| text.bytes().all(|byte| !byte.is_ascii_uppercase());
        assert!(TABLE.iter().all(|row| lower(row.0) && row.0.len() <= EXTENSION_BYTES_MAX));
        let is_text = |row: &&(&str, &str, bool)| row.1.starts_with("text/");
        assert!(TABLE.iter().filter(is_text).all(|row| row.1.ends_with("; charset=utf-8")));
    }

    #[test]
    fn every_row_is_found_in_any_case() {
        for (extension, text, _) in TABLE {
            let name = std::format!("a.b/c.{}", extension.to_ascii_uppercase());
            assert_eq!(media_type(name.as_bytes()).text, *text);
        }
        for name in
            ["", "html", "a/html", "a.html/b", "a.", "a.unheardof", ".", "a.averylongextension"]
        {
            assert_eq!(media_type(name.as_bytes()), UNKNOWN, "{name}");
        }
    }

    #[test]
    fn pages_are_for_those_who_take_html() {
        let takes = |value: &str| {
            let mut fields = Fields::default();
            fields.append(Name::Accept, b"Accept", value.as_bytes());
            takes_html(&fields)
        };
        assert!(takes_html(&Fields::default()));
        assert!(takes("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(takes("*/*") && takes("image/png, TEXT/HTML;q=0.1"));
        assert!(!takes("application/json") && !takes("text/html;q=0") && !takes("image/*"));
        assert!(!takes(""));
    }
}
