use super::format;

#[track_caller]
fn formats(before: &str, after: &str) {
    let once = format(before).expect("it is TOML");
    assert_eq!(once, after);
    assert_eq!(format(&once).expect("it is TOML still"), once, "twice is once");
}

#[test]
fn an_empty_file_stays_empty() {
    formats("", "");
    formats("\n\n", "");
    formats("# only a comment", "# only a comment\n");
}

#[test]
fn sections_are_put_in_order_and_names_together() {
    formats(
        "[pool.b]\nx=1\n[route.r]\ny=1\n[pool.a]\nx=2\n[pool.b.check.http]\nz=1\n[node]\nname='n'\n",
        "[node]\nname = 'n'\n\n[route.r]\ny = 1\n\n[pool.b]\nx = 1\n\n[pool.b.check.http]\nz = 1\n\n\
         [pool.a]\nx = 2\n",
    );
}

#[test]
fn comments_stay_with_what_they_are_about() {
    formats(
        "# The file.\n\n# Of the pool.\n[pool.a]   # behind\nx=1# one\n# y = 2\n\n\n\n# Of the \
         node.\n[node]\n  # indented\n  name = \"n\"\n# the end",
        "# The file.\n\n# Of the node.\n[node]\n# indented\nname = \"n\"\n# the end\n\n# Of the \
         pool.\n[pool.a] # behind\nx = 1 # one\n# y = 2\n",
    );
}

#[test]
fn blank_lines_between_keys_are_kept_but_never_two() {
    formats("\n\n[a]\n\n\nx=1\ny=2\n\n\n\nz=3\n\n\n", "[a]\nx = 1\ny = 2\n\nz = 3\n");
}

#[test]
fn dotted_keys_and_quoted_keys_stay() {
    formats(
        "[p]\ncheck . http={path='/'}\n# of the port\n'a b'.\"c\"=1\n",
        "[p]\ncheck.http = { path = '/' }\n# of the port\n\"a b\".c = 1\n",
    );
}

#[test]
fn long_lists_take_a_line_for_each_item() {
    let item = "\"0123456789012345678901234567890123456789\"";
    formats(
        &format!("x=[{item},{item},{item},]\ny=[1,2,]"),
        &format!("x = [\n    {item},\n    {item},\n    {item},\n]\ny = [1, 2]\n"),
    );
}

#[test]
fn comments_in_lists_stay_beside_their_items() {
    formats(
        "x=[ # all\n1, # one\n# before two\n2 # two\n, 3\n# end\n] # behind\n",
        "x = [ # all\n    1, # one\n    # before two\n    2, # two\n    3,\n    # end\n] # behind\n",
    );
}

#[test]
fn tables_of_several_lines_become_toml_1_0_and_keep_their_comments() {
    formats(
        "t = {\n  # first\n  a = 1, # one\n  b = [ # two\n 2,\n], # three\n}\n",
        "# first\n# one\n# two\n# three\nt = { a = 1, b = [2] }\n",
    );
    formats("x = [\n{ a = 1, # one\n},\n]\n", "x = [\n    # one\n    { a = 1 },\n]\n");
}

#[test]
fn escapes_of_toml_1_1_become_toml_1_0() {
    formats(r#"x = "\e[0m\x41\\e""#, "x = \"\\u001B[0mA\\\\e\"\n");
    formats(r"x = '\e'", "x = '\\e'\n");
}

#[test]
fn lists_of_tables_stay_though_they_are_wrong() {
    formats("[[pool]]\nx=1\n[[pool]]\nx=2\n", "[[pool]]\nx = 1\n\n[[pool]]\nx = 2\n");
}

#[test]
fn text_of_several_lines_stays_as_it_is() {
    formats("x=\"\"\"\none\n\n  two\"\"\"\n", "x = \"\"\"\none\n\n  two\"\"\"\n");
}

#[test]
fn what_is_not_toml_is_refused_with_its_place() {
    let errors = format("a = 1\nb = \n").expect_err("there is no value");
    assert_eq!((errors[0].line, errors[0].code), (2, "syntax"));
}
