//! What the derive and the attribute refuse, and in which words.

#[test]
fn what_go_cannot_send_is_refused_by_the_compiler() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
