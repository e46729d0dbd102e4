use super::*;

#[test]
fn paths_have_one_spelling() {
    let table = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b///", "/a/b/"),
        ("/a/./b/.", "/a/b/"),
        ("/a/../b/..", "/"),
        ("/a/b/../c", "/a/c"),
        ("/a//../b", "/b"),
        ("/.well-known/...", "/.well-known/..."),
        ("/%7Euser/%41%2D%2e%5F", "/~user/A-._"),
        ("/a%2eb", "/a.b"),
        ("/a%3ab%c3%bc%25", "/a%3Ab%C3%BC%25"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/a;v=1/{x}|[y]", "/a;v=1/{x}|[y]"),
        ("*", "*"),
    ];
    for (sent, spelled) in table {
        let cow = normalise(sent.as_bytes()).unwrap();
        assert_eq!(cow, spelled, "{sent}");
        let borrowed = matches!(cow, alloc::borrow::Cow::Borrowed(_));
        assert_eq!(borrowed, sent == spelled, "{sent}: copies only if it must");
    }
}

#[test]
fn paths_that_servers_read_differently_are_refused() {
    use PathError::*;
    let table: [(&[u8], PathError); 27] = [
        (b"", NotAbsolute),
        (b"a/b", NotAbsolute),
        (b"**", NotAbsolute),
        (b"/..", AboveRoot),
        (b"/a/../..", AboveRoot),
        (b"/a/../../b", AboveRoot),
        (b"/%2e%2e/a", DisguisedDots),
        (b"/a/%2E.", DisguisedDots),
        (b"/a/.%2e/b", DisguisedDots),
        (b"/a/%2e/b", DisguisedDots),
        (b"/a/..;/b", DisguisedDots),
        (b"/a/%2e%2e;x/b", DisguisedDots),
        (b"/a%2fb", EncodedSlash),
        (b"/a%2Fb", EncodedSlash),
        (b"/a\\b", Backslash),
        (b"/a%5cb", Backslash),
        (b"/a%00", Nul),
        (b"/a%", BadEscape),
        (b"/a%4", BadEscape),
        (b"/a%g1", BadEscape),
        (b"/a%4/b", BadEscape),
        (b"/a\0", BadByte),
        (b"/a b", BadByte),
        (b"/a\x7f", BadByte),
        (b"/a\r\nX: y", BadByte),
        (b"/a#b", BadByte),
        ("/ü".as_bytes(), NonAscii),
    ];
    for (sent, error) in table {
        assert_eq!(normalise(sent), Err(error), "{}", sent.escape_ascii());
    }
}

#[test]
fn normalising_twice_is_normalising_once() {
    let mut rng = Rng::seeded(1);
    let pieces: [&[u8]; 16] = [
        b"/", b"/", b".", b"..", b"%2e", b"%2f", b"%25", b"2e", b"a", b"%41", b"%c3", b";", b"\\",
        b"%", b"//", b"\xff",
    ];
    let mut spelled = 0;
    for _ in 0..200_000 {
        let mut path = b"/".to_vec();
        for _ in 0..rng.below(8) {
            path.extend_from_slice(pieces[rng.below(16) as usize]);
        }
        let Ok(once) = normalise(&path) else { continue };
        spelled += 1;
        let shown = path.escape_ascii();
        assert_eq!(normalise(once.as_bytes()).as_deref(), Ok(&*once), "{shown}");
        assert!(once.starts_with('/') && !once.contains("//"), "{shown} -> {once}");
        assert!(!once.split('/').any(|s| s == "." || s == ".."), "{shown} -> {once}");
    }
    assert!(spelled > 20_000, "{spelled} of the random paths were legal");
}
