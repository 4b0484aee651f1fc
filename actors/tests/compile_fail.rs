//! Wrong wiring does not compile.

#[test]
fn wrong_wiring_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/wiring/right.rs");
    cases.compile_fail("tests/wiring/wrong_type.rs");
    cases.compile_fail("tests/wiring/port_used_twice.rs");
    cases.compile_fail("tests/wiring/not_a_message.rs");
    cases.compile_fail("tests/wiring/two_keys.rs");
}
