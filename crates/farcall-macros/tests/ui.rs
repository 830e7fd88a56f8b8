//! What the compiler says when a trait is no service: each message, and the place it points at.

#[test]
fn each_mistake_is_shown_where_it_stands_with_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
