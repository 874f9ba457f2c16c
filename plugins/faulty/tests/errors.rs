//! What the compiler says of a plugin that is wrong: in the author's own words and at the author's line.
//! After a change of a message `TRYBUILD=overwrite cargo test -p faulty --test errors` writes them
//! anew.

#[test]
fn errors_point_at_the_authors_line() {
    trybuild::TestCases::new().compile_fail("tests/errors/*.rs");
}
